"""The rules of the house (docs/design.md), as tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from filmroom.archive.errors import ArchiveError
from filmroom.config.reference import reference

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "filmroom"
FILES = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if not path.name.startswith("_generated") and "static" not in path.parts
)
LONGEST = 450  # lines of a file
LONGEST_FUNCTION = 60
# Where a bug in one task must not end the others.
CATCH_ALL = {
    "dimse/performer.py",
    "dimse/server.py",
    "asgi/door.py",
    "archive/committer.py",
    "archive/metadata.py",
    "archive/scrubber.py",
    "index/telling.py",
    "pixel/calling.py",
    "pixel/worker.py",
    "node.py",
    "workflow/worker.py",
}


def named(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.fixture(scope="module")
def trees():
    return {named(path): ast.parse(path.read_text("utf-8")) for path in FILES}


def test_imports_go_downwards_only():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_every_file_begins_with_a_caption(trees):
    for name, tree in trees.items():
        caption = (ast.get_docstring(tree) or "").partition("\n")[0]
        assert caption or not tree.body, f"{name} has no caption"


def test_no_file_is_too_long():
    long = {named(p): n for p in FILES if (n := len(p.read_text("utf-8").splitlines())) > LONGEST}
    assert not long, "what second thing has moved in?"


def test_no_function_is_too_long(trees):
    long = {}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = node.end_lineno - node.lineno + 1
            inner = [
                child
                for child in ast.walk(node)
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child is not node
            ]
            lines -= sum(child.end_lineno - child.lineno + 1 for child in inner)
            if lines > LONGEST_FUNCTION:
                long[f"{name}: {node.name}"] = lines
    assert not long


def catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") == "Exception" for kind in kinds)


def test_nothing_catches_everything_but_the_loops_that_must_go_on(trees):
    found = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_all(node)
    }
    assert found <= CATCH_ALL


def test_every_field_that_is_logged_has_a_name_in_the_list(trees):
    from filmroom.observe import FIELDS

    logged = {
        f"{name}: {key.value}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
        and node.arg == "extra"
        and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and key.value not in FIELDS
    }
    assert not logged, "it would not be written: add it to observe.FIELDS if it tells of no patient"


def test_every_archive_error_is_told_in_dimse_and_in_http():
    from filmroom import http
    from filmroom.services import outcomes

    kinds = set(ArchiveError.__subclasses__())
    for table in (outcomes.C_STORE_STATUS, http.HTTP_STATUS):
        assert set(table) == kinds


def test_every_status_that_is_answered_has_its_meaning_in_the_manual():
    from filmroom import http
    from filmroom.dicomweb import stow_report
    from filmroom.services import outcomes

    assert {*http.TITLES, *http.HTTP_STATUS.values()} <= set(http.MEANINGS)
    used = {
        "C-STORE": outcomes.C_STORE_STATUS,
        "C-FIND": outcomes.QUERY_STATUS,
        "C-MOVE": outcomes.RETRIEVE_STATUS,
        "C-GET": outcomes.RETRIEVE_STATUS,
    }
    for service, table in used.items():
        assert set(table.values()) <= set(outcomes.MEANINGS[service]), service
    page = (ROOT / "docs" / "reference" / "statuses.md").read_text("utf-8")
    for reason in stow_report.FAILURE_REASON.values():
        assert f"| {reason:04X} |" in page


def test_every_setting_is_in_the_manual():
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.read_text("utf-8") == reference(), (
        "filmroom config --reference > docs/reference/settings.md"
    )


def test_every_route_and_command_is_in_the_manual():
    program = [sys.executable, ROOT / "tools" / "make_reference.py", "--check"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_setting_says_what_it_does():
    from filmroom.config.settings import PeerSettings
    from filmroom.config.sources import FIELDS

    fields = {".".join(key): field for key, field in FIELDS.items() if key != ("peers",)}
    fields |= {f"peers.{name}": field for name, field in PeerSettings.model_fields.items()}
    assert not [name for name, field in fields.items() if not field.description]


def test_the_command_answers_quickly():
    import time

    best = 10.0
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "filmroom.cli.main", "--version"], check=True)
        best = min(best, time.perf_counter() - began)
    assert best < 1.5
