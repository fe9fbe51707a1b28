"""The style of a report: on a screen by day and by night, and in print."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--paper:#fff;--line:#d8dee4;
--mark:#0b57a4;--wash:#f4f6f8;--warn:#8a4b00}
@media (prefers-color-scheme:dark){:root{--ink:#dfe4ea;--soft:#98a3af;--paper:#14181d;
--line:#313a44;--mark:#7ab6f5;--wash:#1c2229;--warn:#e5a550}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif}
main,header,footer{max-width:52rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 1rem}
h2,h3,h4,h5,h6{line-height:1.3;margin:0 0 .4rem}
h2{font-size:1.25rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
h3{font-size:1.08rem}h4,h5,h6{font-size:1rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0 0 1rem;
padding:.8rem 1rem;background:var(--wash);border-radius:.4rem;font-size:.92rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
section{margin:1.3rem 0}section section{margin:.8rem 0 .8rem;padding-left:1rem;
border-left:2px solid var(--line)}
.item{margin:.25rem 0;overflow-wrap:anywhere}
.name{color:var(--soft)}
.name::after{content:": "}
.value{white-space:pre-wrap}
.num{font-weight:600;font-variant-numeric:tabular-nums}
.under{margin:.1rem 0 .3rem .4rem;padding-left:.9rem;border-left:2px solid var(--line);
font-size:.93rem}
.how,.when,.note{color:var(--soft);font-size:.88em}
.how::after{content:" "}
.context{font-size:.9rem;color:var(--soft)}
.context .value{color:var(--ink)}
.flow{white-space:pre-wrap}
.unsure{color:var(--warn);font-weight:600}
a{color:var(--mark)}
figure{display:inline-block;margin:.4rem .6rem .4rem 0;vertical-align:top}
figure img{display:block;width:128px;height:128px;object-fit:contain;background:#000;
border-radius:.3rem}
figcaption{font-size:.85rem;max-width:128px;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:.8rem;padding-top:1rem;padding-bottom:2rem}
:target{outline:2px solid var(--mark);outline-offset:.2rem}
@media (max-width:34rem){dl{grid-template-columns:1fr}dt{margin-top:.3rem}}
@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--line:#bbb;--mark:#000;--wash:#fff}
body{font-size:11pt}main,header,footer{max-width:none;padding:0}
dl{border:1px solid var(--line)}h2,h3{break-after:avoid}.item,figure{break-inside:avoid}}
"""

# What a Content-Security-Policy allows: this style and no other.
STYLE_SOURCE = (
    "'sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode("ascii") + "'"
)
