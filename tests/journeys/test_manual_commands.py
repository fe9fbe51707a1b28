"""What the README and the guides tell a reader to type, typed: every command and every snippet."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pydicom.data
import pytest

from instances import an_instance
from nodes import AE_TITLE, ELSEWHERE, FilmroomProcess, about_files, free_port, settings_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "start.md", *(ROOT / "docs" / "guide").glob("*.md")]
DISC = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
NOT_HERE = ("make ", "pip ", "python3 -m venv")  # a fresh machine is not for a test
FOR_FILES = ("backup", "verify", "restore", "migrate-archive")  # of filmroom
STOPPED = ("filmroom import", "filmroom reindex")  # for a folder that no server is using
ASKS = ("filmroom user add", "filmroom user password")
NEW_PASSWORD = "another long password\n"


def blocks(language: str):
    """(page, text) of each fenced block of that language."""
    for page in PAGES:
        for text in re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S):
            yield page, text


def commands():
    """Every line of every shell block, without its comment."""
    for page, text in blocks("sh"):
        for line in text.splitlines():
            command = re.sub(r"\s+#.*", "", line)
            if command and not command.startswith((*NOT_HERE, "filmroom serve")):
                yield pytest.param(command, id=f"{page.name}: {command[:50]}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what the commands name, and a server whose data folder is the default one."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "folder").mkdir()
    for path in ("one.dcm", "folder/two.dcm"):
        (folder / path).write_bytes(an_instance(PatientName="Hopper^Grace"))
    with zipfile.ZipFile(folder / "archive.zip", "w") as zipped:
        zipped.writestr("three.dcm", an_instance())
    shutil.copy(DISC / "DICOMDIR", folder)
    for patient in ("77654033", "98892001", "98892003"):
        shutil.copytree(DISC / patient, folder / patient)
    peer = f"WORKSTATION=127.0.0.1:{free_port()}:query+retrieve+store+echo"  # as in start.md
    node = FilmroomProcess(folder, ("--peer", peer))
    node.data.symlink_to("filmroom-data")
    (folder / "filmroom-data").mkdir()
    (folder / "new.toml").write_text('data = "new"\n')
    node.start()
    if not ELSEWHERE:
        shell(node, "filmroom backup /mnt/backup --data DATA")
    yield node
    node.kill()


def shell(desk, command: str):
    """Type a command at the desk."""
    said = {
        "11112": str(desk.dimse_port),
        "8080": str(desk.http_port),
        "HOST": "127.0.0.1",
        "PATH...": "folder/",
        "NAME": "anna",
        "/mnt/backup": "backup",
        "--data DATA": "--data filmroom-data",
        "--data NEW": "--data restored",
    }
    for placeholder, value in said.items():
        command = command.replace(placeholder, value)
    if "TOKEN" in command:
        command = command.replace("TOKEN", a_token(desk)).replace("curl", "curl --fail -sS")
    # Ours last: pynetdicom brings commands of the same names as dcmtk's.
    ours = str(Path(sys.executable).parent)
    folders = [each for each in os.environ["PATH"].split(os.pathsep) if each != ours]
    path = os.pathsep.join([*folders, ours])
    return subprocess.run(
        ["bash", "-c", command],
        cwd=desk.folder,
        env=os.environ | settings_of(desk.data) | {"PATH": path},
        input=NEW_PASSWORD * 2 if command.startswith(ASKS) else "",
        capture_output=True,
        text=True,
        timeout=60,
    )


def a_token(desk) -> str:
    made = shell(desk, f"filmroom token create --role viewer --name {os.urandom(4).hex()}")
    assert made.returncode == 0, made.stderr
    return made.stdout.split()[0]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_manual_does_what_it_says(desk, peer_program, command):
    program, *words = command.split()
    if program != "filmroom":
        peer_program(program)
    elif words[0] in FOR_FILES:
        about_files()
    if not command.startswith(STOPPED):
        done = shell(desk, command)
    else:
        desk.stop()
        done = shell(desk, command)
        desk.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [line for _, text in blocks("sh") for line in re.findall(r"^filmroom serve .*", text, re.M)],
)
def test_a_server_started_as_in_the_manual_is_ready(tmp_path, command):
    words = shlex.split(command)[2:]
    if "--config" in words:
        path = tmp_path / "filmroom.toml"
        path.write_text("[log]\nformat = 'json'\n")
        words[words.index("--config") + 1] = str(path)
    node = FilmroomProcess(tmp_path / "node", tuple(words)).start()
    assert node.stop() == 0


@pytest.mark.parametrize("text", [text for _, text in blocks("toml")])
def test_settings_of_the_manual_are_settings(tmp_path, text):
    tomllib.loads(text)
    path = tmp_path / "filmroom.toml"
    path.write_text(text)
    for name in re.findall(r'"(/etc/\S+?)"', text):
        path.write_text(path.read_text().replace(name, str(tmp_path / Path(name).name)))
        (tmp_path / Path(name).name).touch()
    program = [sys.executable, "-m", "filmroom.cli.main", "config", "--config", path]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", [text for _, text in blocks("python")])
def test_a_program_of_the_manual_runs(desk, text):
    shell(desk, f"storescu -aec {AE_TITLE} HOST 11112 one.dcm")
    text = text.replace("8080", str(desk.http_port)).replace("TOKEN", a_token(desk))
    names: dict[str, object] = {}
    exec(text, names)
    assert names["studies"]
