"""Write the hostile corpus to a folder: python tools/make_hostile.py FOLDER [--canary HOST:PORT].

The same bytes every time. `manifest.json` says for each file where it is to be sent and what must
come back; `tests/hostile_gate.py` does that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    """Write it, and say how much there is of it."""
    from hostile_corpus import NOBODY, write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--canary", default=NOBODY, help="whom inputs ask the server to call")
    arguments = parser.parse_args()
    inputs = json.loads(write(arguments.folder, arguments.canary).read_text())["inputs"]
    doors = Counter(one["name"].partition("/")[0] for one in inputs)
    told = ", ".join(f"{count} {door}" for door, count in doors.items())
    print(f"{len(inputs)} inputs: {told}")


if __name__ == "__main__":
    main()
