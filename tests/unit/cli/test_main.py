"""The command line: what it prints, what it returns, and that it keeps secrets."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from filmroom.cli.main import app, register_tools
from filmroom.config import Settings
from filmroom.storeroom import Storeroom
from instances import an_instance


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run("user", "list"): on a data folder that exists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILMROOM__ARCHIVE__MIN_FREE_BYTES", "0")
    data = tmp_path / "data"
    data.mkdir()
    runner = CliRunner()

    def ran(*words, input=None):
        return runner.invoke(app, [*words, "--data", str(data)], input=input)

    ran.data = data
    return ran


def test_help_names_every_command():
    said = CliRunner().invoke(app, ["--help"]).stdout
    for command in ("serve", "import", "reindex", "user", "token", "config", "version"):
        assert command in said


def test_the_tools_are_part_of_it():
    command = [sys.executable, "-m", "filmroom.cli.main", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for command in ("echo", "send", "find", "get", "move", "dump"):
        assert command in said


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_the_version_is_said(words):
    assert CliRunner().invoke(app, words).stdout.startswith("filmroom 0.")


def test_config_tells_what_is_in_force_and_whence(run, monkeypatch):
    monkeypatch.setenv("FILMROOM__DIMSE__PORT", "104")
    monkeypatch.setenv("FILMROOM__SECURITY__ADMIN_PASSWORD", "hunter2hunter2")
    said = run("config").stdout
    line = next(line for line in said.splitlines() if line.startswith("dimse.port"))
    assert line.split() == ["dimse.port", "104", "(FILMROOM__DIMSE__PORT)"]
    assert "hunter2" not in said
    rows = {row["key"]: row for row in json.loads(run("config", "--json").stdout)}
    assert rows["data"]["source"] == "--data"
    assert rows["security.admin_password"]["value"] == "***"


@pytest.mark.parametrize(
    "words",
    [
        ["--dimse-port", "99999"],
        ["--ae-title", "A\\B"],
        ["--ae-title", ""],
        ["--peer", "nonsense"],
        ["--peer", "X=h:1:administer"],
        ["--config", "/nowhere.toml"],
    ],
)
def test_wrong_words_are_status_2_and_one_line_each(run, words):
    done = run("serve", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith("filmroom: ")
    assert "Traceback" not in done.output


def test_an_account_is_made_changed_and_removed(run):
    assert (
        run("user", "add", "grace", "--role", "admin", input="a compiler is a friend\n").exit_code
        == 0
    )
    assert run("user", "add", "ada", input="notes by the translator\n").exit_code == 0
    assert run("user", "role", "ada", "radiologist").exit_code == 0
    assert run("user", "disable", "ada").exit_code == 0
    rows = json.loads(run("user", "list", "--json").stdout)
    assert rows == [
        {"name": "ada", "role": "radiologist", "disabled": True},
        {"name": "grace", "role": "admin", "disabled": False},
    ]
    assert run("user", "remove", "ada").exit_code == 0
    assert run("user", "list").stdout == "grace\tadmin\n"


def test_a_password_is_taken_from_a_file(run, tmp_path):
    (tmp_path / "secret").write_text("a compiler is a friend\n")
    done = run("user", "add", "grace", "--password-file", str(tmp_path / "secret"))
    assert done.exit_code == 0
    assert "compiler" not in done.output


def test_there_is_no_way_to_give_a_password_as_an_argument(run):
    assert run("user", "add", "grace", "--password", "x").exit_code == 2


@pytest.mark.parametrize(
    ("words", "input", "says"),
    [
        (["user", "add", "grace"], "short\n", "at least 10"),
        (["user", "add", "a b"], "a compiler is a friend\n", "user name"),
        (["user", "remove", "nobody"], None, "no such user"),
        (["user", "role", "nobody", "viewer"], None, "no such user"),
        (["token", "create", "--role", "emperor"], None, "roles are"),
        (["token", "revoke", "nothing"], None, "no such token"),
    ],
)
def test_what_cannot_be_done_is_status_1_and_one_line(run, words, input, says):
    done = run(*words, input=input)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_a_token_is_printed_once(run):
    secret = run("token", "create", "--role", "service", "--name", "gateway").stdout.strip()
    assert secret.startswith("filmroom_")
    listed = run("token", "list").stdout
    assert "gateway\tservice" in listed
    assert secret not in listed
    assert run("token", "revoke", "gateway").exit_code == 0
    assert run("token", "list").stdout == ""


@pytest.mark.parametrize(("said", "days"), [("30", 30), ("2d", 2), ("12h", 0.5)])
def test_a_token_expires_as_said(run, said, days):
    made = json.loads(
        run("token", "create", "--role", "viewer", "--expires", said, "--json").stdout
    )
    (row,) = json.loads(run("token", "list", "--json").stdout)
    assert row["expires_at"] - row["created_at"] == pytest.approx(days * 86400, abs=5)
    assert made["name"] == row["name"]


def test_a_token_that_expires_somehow_is_wrong_usage(run):
    assert run("token", "create", "--role", "viewer", "--expires", "soon").exit_code == 2


def test_accounts_need_a_data_folder_that_is_there(tmp_path):
    done = CliRunner().invoke(app, ["user", "list", "--data", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "there is no data folder" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_migrate_shows_the_steps_of_the_schema_and_changes_nothing(run):
    pending = run("migrate", "--json")
    assert pending.exit_code == 0
    found = json.loads(pending.stdout)
    assert found["applied"] == found["done"] == []
    assert "001_first" in found["pending"]
    assert "pending  001_first   at the next start" in run("migrate").stdout
    assert run("user", "list").exit_code == 0  # opens the index
    shown = run("migrate")
    assert "applied  001_first\n" in shown.stdout
    assert "pending" not in shown.stdout
    done = run("migrate", "--post")
    assert done.exit_code == 0
    assert "applied now: nothing" in done.stdout


def test_migrate_without_an_index_is_status_1_and_one_line(run, tmp_path, monkeypatch):
    gone = CliRunner().invoke(app, ["migrate", "--data", str(tmp_path / "none")])
    assert gone.exit_code == 1
    assert gone.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()
    monkeypatch.setenv("FILMROOM__INDEX__URL", "postgresql://filmroom@127.0.0.1:1/none")
    monkeypatch.setattr("filmroom.index.postgres.PATIENCE_SECONDS", 0.5)
    away = run("migrate", "--post")
    assert away.exit_code == 1
    assert "does not answer" in away.stderr


def test_import_tells_the_score_and_reindex_finds_the_same(run, tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    for number in range(3):
        (media / f"{number}.dcm").write_bytes(an_instance())
    (media / "readme.txt").write_text("hello")
    done = run("import", str(media))
    assert done.exit_code == 0
    assert done.stdout.startswith("3 new, 0 held already")
    again = json.loads(run("import", str(media), "--json").stdout)
    assert (again["new"], again["same"], again["ignored"]) == (0, 3, 1)
    (run.data / "index.sqlite").unlink()
    report = json.loads(run("reindex", "--json").stdout)
    assert (report["files"], report["added"]) == (3, 3)


def test_import_of_something_broken_is_status_1_and_names_it(run, tmp_path):
    (tmp_path / "broken.dcm").write_bytes(an_instance()[:600])
    done = run("import", str(tmp_path / "broken.dcm"))
    assert done.exit_code == 1
    assert "broken.dcm: " in done.stderr


def test_import_beside_a_running_server_says_what_to_do(run, tmp_path):
    room = Storeroom(Settings.model_validate({"data": str(run.data)}))
    try:
        done = run("import", str(tmp_path))
    finally:
        room.open()
        room.close()
    assert done.exit_code == 1
    assert "filmroom send" in done.stderr


def test_a_reader_that_left_is_no_traceback():
    command = f"{sys.executable} -m filmroom.cli.main config | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["serve"], ["import", __file__], ["reindex"]])
def test_a_data_folder_that_cannot_be_is_one_line(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    words = [sys.executable, "-m", "filmroom.cli.main", *command, "--data", tmp_path / "file" / "x"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"filmroom: {tmp_path}/file/x: Not a directory\n"


def test_help_tells_the_defaults():
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    for default in ("./filmroom-data", "11112", "8080", "127.0.0.1", "FILMROOM"):
        assert f"default: {default}" in shown


def commands_in_the_manual():
    root = Path(__file__).parents[3]
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        blocks = "".join(re.findall(r"^```(?:sh|ini)$.*?^```$", page.read_text(), re.M | re.S))
        for line in re.findall(r"^(?:ExecStart=\S*/)?(filmroom [a-z].*)$", blocks, re.M):
            yield pytest.param(line, id=f"{page.name}: {line[:40]}")


@pytest.mark.parametrize("line", commands_in_the_manual())
def test_every_command_in_the_manual_is_one(line):
    register_tools()
    groups, alternatives = get_command(app).commands, line.removeprefix("filmroom ").split(" | ")
    for alternative in alternatives:
        first, *words = shlex.split(alternative, comments=True)
        if first in groups and hasattr(groups[first], "commands"):
            groups, first = groups[first].commands, words.pop(0)
        assert first in groups
        options = {text for parameter in groups[first].params for text in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options
