"""A crowd of storescu: several associations at once, and what each of them was told."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from pathlib import Path

from instances import a_data_set, data_set_bytes, part10
from nodes import AE_TITLE

ASSOCIATIONS = 4
FILES = 250  # a sender's: more than it can send before somebody interrupts
PATIENCE_SECONDS = 120
AGAIN_SECONDS = 0.5  # a modality waits longer before it calls again
ROOT = "1.2.826.0.1.3680043.10.9999"
AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}
_SENT = re.compile(
    r"^I: Sending file: (?P<file>\S+)|^I: Received Store Response \((?P<status>\w+)", re.M
)


def uid(round_number: int, sender: int, number: int) -> str:
    """One instance's UID; all are of one length, so that a template can be patched."""
    return f"{ROOT}.{1000 + round_number}.{10 + sender}.{1000 + number}"


def study_uid(round_number: int, sender: int) -> str:
    """The study of one sender in one round."""
    return uid(round_number, sender, 8000)


def _series_uid(round_number: int, sender: int, number: int) -> str:
    """A new one after every ten instances, so that folders are made all the time."""
    return uid(round_number, sender, 8001 + number // 10)


def templates() -> list[bytes]:
    """Files of three sizes; the largest takes more than one PDU."""
    uids = {
        "SOPInstanceUID": uid(0, 0, 0),
        "StudyInstanceUID": study_uid(0, 0),
        "SeriesInstanceUID": _series_uid(0, 0, 0),
    }
    return [part10(a_data_set(rows=s, columns=s, **uids)) for s in (16, 64, 400)]


def instance_file(
    made_from: list[bytes], round_number: int, sender: int, number: int
) -> tuple[str, bytes]:
    """The UID and the file of one instance, made from one of the templates."""
    name = uid(round_number, sender, number)
    content = random.Random(name).choice([made_from[0], *made_from])
    for template, ours in (
        (uid(0, 0, 0), name),
        (study_uid(0, 0), study_uid(round_number, sender)),
        (_series_uid(0, 0, 0), _series_uid(round_number, sender, number)),
    ):
        content = content.replace(template.encode(), ours.encode())
    return name, content


class Senders:
    """Several storescu, each with files of its own; `sent` gets every data set by its UID.

    What was acknowledged is thrown away by the sender. Those that are cut off, or told to come
    back later, may call again with the rest: `finish`.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        made_from: list[bytes],
        round_number: int,
        *,
        associations: int = ASSOCIATIONS,
        files: int = FILES,
    ):
        self._program = program
        self._folders = [folder / f"{round_number}-{n}" for n in range(associations)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._done: list[str] = []
        self._port = 0
        self.round_number = round_number
        self.sent: dict[str, bytes] = {}
        self.interrupted = 0
        for sender, each in enumerate(self._folders):
            each.mkdir()
            for number in range(files):
                self._write(each, made_from, sender, number)

    def _write(self, folder: Path, made_from: list[bytes], sender: int, number: int) -> None:
        name, content = instance_file(made_from, self.round_number, sender, number)
        (folder / name).write_bytes(content)
        self.sent[name] = data_set_bytes(content)

    def start(self, port: int) -> Senders:
        self._port = port
        self._processes = [self._call(folder) for folder in self._folders]
        return self

    def _call(self, folder: Path) -> subprocess.Popen[bytes]:
        command = [self._program, "-v", "-aec", AE_TITLE, "+sd", "127.0.0.1", str(self._port)]
        with _log_of(folder).open("wb") as log:
            return subprocess.Popen([*command, str(folder)], stdout=log, stderr=log)

    def wait_for_an_answer(self) -> None:
        """Return when the first instance was acknowledged."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(_acknowledged_by(folder) for folder in self._folders):
            assert time.monotonic() < deadline, "nothing was stored"
            time.sleep(0.02)

    def acknowledged_so_far(self) -> list[str]:
        """The UIDs that were answered with Success until now; the crowd goes on."""
        return [*self._done, *(name for each in self._folders for name in _acknowledged_by(each))]

    def acknowledged(self) -> list[str]:
        """Wait for their end; the UIDs that were answered with Success."""
        for process, folder in zip(self._processes, self._folders, strict=True):
            self.interrupted += process.wait(PATIENCE_SECONDS) != 0
            self._done += _acknowledged_by(folder)
            shutil.rmtree(folder)
        return self._done

    def finish(self, seconds: float = PATIENCE_SECONDS) -> list[str]:
        """Who did not get everything acknowledged calls again with the rest, until all is."""
        deadline = time.monotonic() + seconds
        waiting = dict(zip(self._folders, self._processes, strict=True))
        while waiting:
            assert time.monotonic() < deadline, f"{len(waiting)} senders could not get done"
            time.sleep(0.05)
            for folder, process in list(waiting.items()):
                if process.poll() is not None:
                    waiting.pop(folder)
                    if self._has_rest(folder):
                        self.interrupted += 1
                        time.sleep(AGAIN_SECONDS)
                        waiting[folder] = self._call(folder)
        return self._done

    def _has_rest(self, folder: Path) -> bool:
        """Throw away what was acknowledged; whether anything is left."""
        done = _acknowledged_by(folder)
        self._done += done
        for name in done:
            (folder / name).unlink()
        return any(folder.iterdir())


def _log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _acknowledged_by(folder: Path) -> list[str]:
    file, done = "", []
    for line in _SENT.finditer(_log_of(folder).read_text("ascii", "replace")):
        if line["file"]:
            file = line["file"].rpartition("/")[2]
        elif line["status"] == "Success":
            done.append(file)
    return done


def held_instances(client, **matching: str) -> dict[str, str]:
    """SOP Instance UID -> retrieve URL of all that QIDO-RS finds."""
    held = {}
    while True:
        parameters = {"limit": "1000", "offset": str(len(held)), **matching}
        answer = client.get("/dicom-web/instances", params=parameters)
        assert answer.status_code in (200, 204), answer.text
        page = answer.json() if answer.status_code == 200 else []
        for found in page:
            study, series, instance = (
                found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")
            )
            held[instance] = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        if len(page) < 1000:
            return held


def stow(client, *data_sets):
    """Send data sets by STOW-RS, all in one request."""
    parts = b"".join(
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n" for ds in data_sets
    )
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    headers = {"Content-Type": kind}
    return client.post("/dicom-web/studies", content=parts + b"--b--\r\n", headers=headers)


def contents(client):
    """Every instance by its UID, as it would be given out."""
    held = held_instances(client)
    return {
        uid: data_set_bytes(client.get(path, headers=AS_STORED).content)
        for uid, path in held.items()
    }
