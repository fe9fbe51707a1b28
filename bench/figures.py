"""Write the kept results into the pages that speak of them, so that the two cannot differ.

.venv/bin/python bench/figures.py            # after a bench: write the pages
.venv/bin/python bench/figures.py --check    # exit 1 if they say something else
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import barred
from report import Line, elsewhere, figure, lines, rounds, table, times

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
PAGES = (ROOT / "docs" / "figures.md", ROOT / "bench" / "README.md")
RESULT_NAMES = ("compare", "elsewhere", "limits", "scale", "scale_postgresql")
BLOCKS = ("how", "leads", "short", "behind", "alone", "table", *RESULT_NAMES[1:])
AT_MOST = {  # ms that a question to a large index may take
    **dict.fromkeys(("PatientID", "AccessionNumber", "Study Instance UID"), 5.0),
    **dict.fromkeys(("name contains: *TH123*", "QIDO-RS name contains"), 20.0),
    **dict.fromkeys(("QIDO-RS PatientID", "QIDO-RS page of 50"), 10.0),
}
# Marked by link definitions, which no renderer shows; comments are shown by those without HTML.
_BLOCK = re.compile(r"(\[figures-(\w+)\]: # [^\n]*\n\n).*?(\n\[figures-end\]: # )", re.S)


def blocks(kept: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """The generated parts of the pages by name; what was not measured yet says so."""
    found = dict.fromkeys(BLOCKS, "Not measured yet.\n")
    if (compare := kept.get("compare")) is not None:
        summed = lines(compare["values"])
        found |= {
            "how": _how(compare),
            "leads": _list(e for e in summed if _ahead(e) and e.reached is not False),
            "short": _list(e for e in summed if _ahead(e) and e.reached is False),
            "behind": _list(e for e in summed if e.ratio is not None and not _ahead(e)),
            "alone": _alone(summed),
            "table": table(summed) + "\n",
        }
    if (beside := kept.get("elsewhere")) is not None:
        found["elsewhere"] = f"{_how(beside)}\n{elsewhere(beside['values'])}\n"
    if (limits := kept.get("limits")) is not None:
        found["limits"] = limits_page(limits)
    for name in ("scale", "scale_postgresql"):
        if (scale := kept.get(name)) is not None:
            found[name] = scale_table(scale)
    return found


def _ahead(each: Line) -> bool:
    return each.ratio is not None and each.ratio >= 1


def _how(compare: Mapping[str, Any]) -> str:
    had = compare["versions"]
    return (
        f"Measured {compare['day']} on {had['machine']}, Linux {had['kernel']}, Python "
        f"{had['Python']}: filmroom {had['filmroom']} beside Orthanc "
        f"{had['Orthanc'].rpartition(' ')[2]} as Debian ships it; medians of "
        f"{rounds(compare['values'])} rounds.\n"
    )


def _list(found: Iterable[Line]) -> str:
    """Best first: the row, the ratio, both figures."""
    best = sorted(found, key=lambda each: -(each.ratio or 0))
    out = [
        f"| {each.row.title} | {times(each.ratio)} | {figure(each.ours)} | "
        f"{figure(each.theirs)} {each.row.unit} |"
        for each in best
    ]
    head = ["| row | better by | filmroom | Orthanc |", "|---|--:|--:|--:|"]
    return "\n".join(head + out if out else ["Nothing."]) + "\n"


def _alone(summed: Iterable[Line]) -> str:
    """What is measured against a bar of our own and not against somebody."""
    out = [
        f"| {each.row.title} | {figure(each.ours)} {each.row.unit} | {figure(each.row.at_most)} | "
        f"{figure(each.theirs)} |"
        for each in summed
        if each.row.at_most is not None or each.theirs is None
    ]
    head = ["| what | filmroom | at most wanted | Orthanc |", "|---|--:|--:|--:|"]
    return "\n".join(head + out) + "\n"


def limits_page(limits: Mapping[str, Any]) -> str:
    """What stands in the way of each row that missed its bar."""
    return f"{_how(limits)}\n{barred.table(limits['values'])}\n"


def scale_table(scale: Mapping[str, Any]) -> str:
    """The large index: what it holds, how it takes more, how it answers."""
    rate = {name: scale[name] for name in ("first_per_second", "last_per_second")}
    out = [
        f"{scale['studies']:,} studies, {scale['instances']:,} instances on {scale['engine']}, "
        f"measured {scale['day']} on {scale['machine']}.",
        "",
        "| what | figure |",
        "|---|--:|",
        f"| storing rows, the first 5,000 instances, /s | {figure(rate['first_per_second'])} |",
        f"| storing rows, the last 5,000 instances, /s | {figure(rate['last_per_second'])} |",
        "| how many times slower the last were | "
        f"{rate['first_per_second'] / rate['last_per_second']:.2f} |",
        f"| bytes of index per instance | {figure(scale['bytes_per_instance'])} |",
        f"| start of `filmroom serve` at that size, s | {figure(scale['start_seconds'])} |",
        f"| memory of the idle server, MiB | {figure(scale['idle_mib'])} |",
        "",
        "| question | median, ms | slowest, ms | at most wanted | answers |",
        "|---|--:|--:|--:|--:|",
    ]
    out += [
        f"| {each['question']} | {figure(each['median_ms'])} | {figure(each['max_ms'])} | "
        f"{figure(AT_MOST.get(each['question']))} | {each['answers']:,} |"
        for each in scale["questions"]
    ]
    return "\n".join(out) + "\n"


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page with every marked block replaced; KeyError for a block of an unknown name."""
    return _BLOCK.sub(lambda found: found[1] + parts[found[2]] + found[3], page)


def _kept(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write(*, check: bool = False) -> list[Path]:
    """Write the pages that have changed, or only say which they are."""
    parts = blocks({name: _kept(name) for name in RESULT_NAMES})
    changed = []
    for path in PAGES:
        page = path.read_text("utf-8")
        new = filled(page, parts)
        if new != page:
            changed.append(path)
            if not check:
                path.write_text(new, "utf-8")
    return changed


def main() -> int:
    check = "--check" in sys.argv[1:]
    changed = write(check=check)
    for path in changed:
        verb = "differs from the results" if check else "written"
        print(f"{path.relative_to(ROOT)}: {verb}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
