"""The reference page of settings, written from the settings themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from filmroom.config.compressing import CompressRule
from filmroom.config.settings import PeerSettings, Settings
from filmroom.config.sources import FIELDS, is_secret

HEAD = """# Settings

One TOML file (`filmroom serve --config FILE`); every key may also be given in the environment
as `FILMROOM__SECTION__KEY`, and a secret as the name of a file that holds it (`KEY_file`,
`FILMROOM__SECTION__KEY_FILE`). The command line beats the environment, which beats the file.
A key that is not on this page is an error. `filmroom config` prints what is in force and who said
so.

This page is written by `filmroom config --reference`; a test compares the two.
"""


def reference() -> str:
    """All settings as one Markdown page."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            caption = (kind.__doc__ or "").partition(": ")[2]
            keys = [(key, f) for key, f in FIELDS.items() if key[0] == name]
            parts.append(_table(f"[{name}]", caption, keys))
    top = [(key, f) for key, f in FIELDS.items() if len(key) == 1 and key[0] != "peers"]
    parts.insert(1, _table("Top level", "what stands above the first section.", top))
    peers = [(("peers", name), f) for name, f in PeerSettings.model_fields.items()]
    caption = (
        "the remote application entities; one table each. In the environment and on the "
        "command line (`--peer`) as `AET=HOST:PORT[:RIGHT+RIGHT…|:all]`."
    )
    parts.append(_table("[[peers]]", caption, peers))
    rules = [(("compress", name), f) for name, f in CompressRule.model_fields.items()]
    caption = (
        "what is stored smaller than it came, one table each; the first that fits decides. In the "
        "environment (`FILMROOM__COMPRESS__RULES`) as JSON."
    )
    parts.append(_table("[[compress.rules]]", caption, rules))
    return "\n".join(parts)


def _table(title: str, caption: str, keys: Sequence[tuple[tuple[str, ...], FieldInfo]]) -> str:
    heading = f"`{title}`" if title.startswith("[") else title
    rows = [
        f"## {heading}",
        "",
        caption[:1].upper() + caption[1:],
        "",
        "| key | default | what it does |",
        "|---|---|---|",
    ]
    for key, field in keys:
        text = (field.description or "").replace("|", "\\|")
        if is_secret(field):
            text += f" Secret: `{key[-1]}_file` too."
        rows.append(f"| `{key[-1]}` | {_default(field)} | {text} |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, Path):
        value = str(value)
    return f"`{value if isinstance(value, str) else orjson.dumps(value).decode()}`"
