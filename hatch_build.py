"""Put the manual and the built front-end into the wheel: whoever installs it never needs Node.

FILMROOM_SKIP_FRONTEND=1 builds a server without pages; so does a machine without Node, with a
warning. Editable installs are left alone: `make env` builds the pages where they are served from.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FrontendHook(BuildHookInterface[Any]):
    """Runs web/build.py before a wheel is packed, when its output is not there yet."""

    def dependencies(self) -> list[str]:
        """A Node from PyPI for the build alone, where the machine has none."""
        if not self._wanted(self.target_name):
            return []
        frontend = self._frontend()
        complete = frontend.CONSOLE.exists() and frontend.OHIF.exists()
        return [] if complete or frontend.find_node() else [frontend.NODE_FROM_PYPI]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is `standard` or `editable`."""
        if version == "editable":
            return
        build_data["force_include"]["docs"] = "filmroom/manual"
        if not self._wanted(self.target_name):
            return
        frontend = self._frontend()
        complete = frontend.CONSOLE.exists() and frontend.OHIF.exists()
        if not complete and frontend.find_node() is None:
            self.app.display_warning(
                "no Node and npm here: this wheel will have no pages and no viewer"
            )
            return
        frontend.build_missing()

    def _wanted(self, target: str) -> bool:
        skipped = os.environ.get("FILMROOM_SKIP_FRONTEND", "") not in ("", "0")
        return target == "wheel" and not skipped

    def _frontend(self) -> ModuleType:
        path = Path(self.root) / "web" / "build.py"
        spec = importlib.util.spec_from_file_location("filmroom_frontend", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up by name
        spec.loader.exec_module(module)
        return module
