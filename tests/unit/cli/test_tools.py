"""cli/tools.py: usage, exit statuses and what is said when something is wrong."""

import json

import pytest
import typer
from typer.testing import CliRunner

from filmroom.cli.tools import register
from instances import a_data_set, part10

app = typer.Typer()
register(app)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("command", ["echo", "send", "find", "get", "move", "dump"])
def test_every_tool_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["echo", "127.0.0.1", "0"],
        ["echo", "127.0.0.1", "104", "--called", "SEVENTEEN_LETTERS"],
        ["echo", "127.0.0.1", "104", "--called", "BACK\\SLASH"],
        ["find", "127.0.0.1", "104", "--level", "FOLDER"],
        ["find", "127.0.0.1", "104", "--root", "square"],
        ["find", "127.0.0.1", "104", "-k", "NoSuchKeyword=1"],
        ["get", "127.0.0.1", "104", "-k", "PatientName=X", "--to", "."],
        ["move", "127.0.0.1", "104", "-k", "StudyInstanceUID=1.2"],
        ["send", "127.0.0.1", "104", "/no/such/path"],
        ["dump", "/no/such/file"],
        ["dump"],
    ],
)
def test_wrong_usage_is_exit_status_two(arguments):
    assert run(*arguments).exit_code == 2


def test_a_refused_connection_says_what_to_do(tmp_path):
    result = run("echo", "127.0.0.1", "1")
    assert result.exit_code == 1
    assert "connection refused at 127.0.0.1:1: is the peer listening there?" in result.output


def test_a_failure_in_json_is_json():
    result = CliRunner().invoke(app, ["find", "127.0.0.1", "1", "--json"])
    assert result.exit_code == 1
    assert "connection refused" in json.loads(result.stdout)["error"]


def test_a_folder_without_instances_is_told(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    result = run("send", "127.0.0.1", "1", tmp_path)
    assert result.exit_code == 1
    assert "no DICOM instances found" in result.output


def test_dump_prints_and_a_broken_file_is_a_failure(tmp_path):
    file = tmp_path / "one.dcm"
    file.write_bytes(part10(a_data_set()))
    assert "PatientName: Hopper^Grace" in run("dump", file).output
    file.write_bytes(file.read_bytes()[:600])
    broken = run("dump", file)
    assert broken.exit_code == 1
    assert "Traceback" not in broken.output
