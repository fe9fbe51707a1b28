"""Write the golden images in tests/golden anew. Look at every one that changed.

python tools/make_golden.py          all of them
python tools/make_golden.py NAME...  these
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE / "src"), str(HERE / "tests")]

from golden_cases import CASES, FOLDER  # noqa: E402


def main(names: list[str]) -> None:
    """Write the images of these names, and drop those that no case is left for."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or CASES:
        (FOLDER / f"{name}.png").write_bytes(CASES[name]())
    for path in FOLDER.glob("*.png"):
        if path.stem not in CASES:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
