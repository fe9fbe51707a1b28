"""Fuzz for a while: python -m fuzz.run [--seconds 600] [TARGET ...]

Each target runs in a process of its own with a share of the time, and begins with its seeds and
with what is kept under fuzz/corpus. A finding stops its target; the input lies in fuzz/found/ and
belongs, once mended, into fuzz/corpus, where the ordinary tests replay it. `--keep` adds to
fuzz/corpus the few inputs that reached what no other did.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "fuzz" / "found"
ONE_INPUT_SECONDS = 5
MOST_MEMORY_MIB = 1024
DAMAGED_SHARE = 0.1  # of the time, for hypothesis
sys.path.insert(0, str(ROOT / "tests"))  # the seeds come from the hostile corpus


def main() -> int:
    """Run all that is asked for, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", 600)))
    parser.add_argument("--keep", action="store_true", help="add what is new to fuzz/corpus")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        fuzz(arguments.targets[0], arguments.folder, arguments.seconds)
    from fuzz.targets import TARGETS

    names = arguments.targets or list(TARGETS)
    share = arguments.seconds * (1 - DAMAGED_SHARE) / len(names)
    failed = [name for name in names if not run(name, share, keep=arguments.keep)]
    if not arguments.targets and not run_damaged(arguments.seconds * DAMAGED_SHARE / len(names)):
        failed.append("what hypothesis damaged")
    if failed:
        print(f"findings in {', '.join(failed)}: see {FOUND.relative_to(ROOT)}/")
    return 1 if failed else 0


def run(name: str, seconds: float, *, keep: bool) -> bool:
    """Fuzz one target; False when something was found."""
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place, "inputs")
        folder.mkdir()
        begun = {}
        for data in [*target.seeds(), *(path.read_bytes() for path in target.kept())]:
            begun[hashlib.sha1(data, usedforsecurity=False).hexdigest()] = data
        for digest, data in begun.items():
            (folder / digest).write_bytes(data)
        command = [sys.executable, "-m", "fuzz.run", "--inner", "--folder", str(folder)]
        command += ["--seconds", str(seconds), name]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False
        )
        executions = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
        covered = re.findall(r"ft: (\d+)", done.stderr)
        new = sorted(path for path in folder.iterdir() if path.name not in begun)
        print(
            f"{name:12} {int(executions[-1]) if executions else 0:>9,} executions in "
            f"{time.monotonic() - began:.0f} s, {covered[-1] if covered else '?'} features, "
            f"{len(begun)} inputs and {len(new)} more",
            flush=True,
        )
        if done.returncode:
            print(done.stderr[-4000:], flush=True)
        if keep and not done.returncode:
            _keep(name, begun, folder)
    return not done.returncode


def run_damaged(seconds: float) -> bool:
    """Let hypothesis damage the seeds of each target for so long; it tells the smallest finding."""
    tests = [sys.executable, "-m", "pytest", "-q", "--timeout", "0", "tests/unit/fuzz"]
    environment = os.environ | {"FUZZ_EACH_SECONDS": str(seconds)}
    return not subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode


def _keep(name: str, begun: dict[str, bytes], folder: Path) -> None:
    """Of what was found on the way, what reaches lines that nothing else does, smallest first."""
    from fuzz.reach import reached
    from fuzz.targets import CORPUS, TARGETS

    check = TARGETS[name].check
    seen: set[object] = set()
    for data in begun.values():
        seen |= reached(check, data)
    place = CORPUS / name
    place.mkdir(parents=True, exist_ok=True)
    new = (path for path in folder.iterdir() if path.name not in begun)
    for path in sorted(new, key=lambda path: (path.stat().st_size, path.name)):
        more = reached(check, path.read_bytes()) - seen
        if more:
            seen |= more
            (place / path.name[:16]).write_bytes(path.read_bytes())


def fuzz(name: str, folder: Path, seconds: float) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["filmroom"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]
    FOUND.mkdir(exist_ok=True)
    words = folder.parent / "words"
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in target.words]
    words.write_text("\n".join(lines) + "\n")
    options = {
        "max_total_time": int(seconds),
        "timeout": ONE_INPUT_SECONDS,
        "rss_limit_mb": MOST_MEMORY_MIB,
        "max_len": target.max_bytes,
        "dict": words,
        "artifact_prefix": f"{FOUND}/{name}-",
        "print_final_stats": 1,
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(folder)],
        target.check,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
