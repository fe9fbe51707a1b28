"""kill -9 at any instant: what was acknowledged is held, and nothing half is seen."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time

import pytest

from instances import a_data_set, data_set_bytes, part10
from nodes import AE_TITLE

ROUNDS = int(os.environ.get("FILMROOM_CRASH_ROUNDS", "20"))
ASSOCIATIONS = 4
FILES = 250  # a sender's: more than it can send before the kill
ROOT = "1.2.826.0.1.3680043.10.9999"
SENT = re.compile(
    r"^I: Sending file: (?P<file>\S+)|^I: Received Store Response \((?P<status>\w+)", re.M
)


def uid(round_number, sender, number):
    """One instance's UID; all are of one length, so that a template can be patched."""
    return f"{ROOT}.{1000 + round_number}.{10 + sender}.{1000 + number}"


@pytest.fixture(scope="module")
def templates():
    """Files of three sizes; the largest takes more than one PDU."""
    return [
        part10(a_data_set(rows=s, columns=s, SOPInstanceUID=uid(0, 0, 0))) for s in (16, 64, 400)
    ]


def write_files(folder, templates, round_number, sender, sent):
    """The files of one sender: one study and series, each instance its own UID."""
    folder.mkdir()
    for number in range(FILES):
        name = uid(round_number, sender, number)
        template = templates[random.Random(name).choice([0, 0, 1, 2])]
        content = template.replace(uid(0, 0, 0).encode(), name.encode())
        (folder / name).write_bytes(content)
        sent[name] = data_set_bytes(content)


def acknowledged_by(log):
    """The UIDs that storescu was told Success for."""
    file, done = "", []
    for line in SENT.finditer(log):
        if line["file"]:
            file = line["file"].rpartition("/")[2]
        elif line["status"] == "Success":
            done.append(file)
    return done


@pytest.mark.crash
@pytest.mark.timeout(1200)
def test_kill_9_during_a_store_of_four_associations_loses_nothing_acknowledged(
    start_node, peer_program, templates, tmp_path
):
    storescu = peer_program("storescu")
    node = start_node()
    sent = {}
    held = {}
    total = cut = 0
    for round_number in range(ROUNDS):
        senders = []
        for sender in range(ASSOCIATIONS):
            folder = tmp_path / f"{round_number}-{sender}"
            write_files(folder, templates, round_number, sender, sent)
            command = [storescu, "-v", "-aec", AE_TITLE, "+sd", "127.0.0.1", str(node.dimse_port)]
            senders.append(
                subprocess.Popen(
                    [*command, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            )
        time.sleep(random.Random(round_number).uniform(0.15, 0.9))
        node.kill()
        acknowledged = []
        for sender in senders:
            log, _ = sender.communicate(timeout=60)
            acknowledged += acknowledged_by(log.decode("ascii", "replace"))
            cut += sender.returncode != 0
        node.start()
        assert node.temporary_files() == []
        with node.client() as client:
            held = held_instances(client)
            lost = [name for name in acknowledged if name not in held]
            assert lost == [], f"round {round_number}: {len(lost)} of {len(acknowledged)} lost"
            this_round = f"{ROOT}.{1000 + round_number}."
            for name in (name for name in held if name.startswith(this_round)):
                accept = {"Accept": "application/dicom; transfer-syntax=*"}
                answer = client.get(held[name], headers=accept)
                assert answer.status_code == 200, answer.text
                assert data_set_bytes(answer.content) == sent[name], "not what was sent"
        total += len(acknowledged)
    assert total > ROUNDS, "hardly anything was stored: the test has no teeth"
    assert cut > ROUNDS, "hardly anybody was interrupted: the test has no teeth"
    assert len(node.stored_files()) == len(held), "a file without a row"
    print(f"{ROUNDS} rounds, {total} acknowledged, 0 lost, {cut} senders cut off")


def held_instances(client):
    """SOP Instance UID -> retrieve URL of all that is visible."""
    held = {}
    offset = 0
    while True:
        answer = client.get(f"/dicom-web/instances?limit=1000&offset={offset}")
        assert answer.status_code in (200, 204), answer.text
        page = answer.json() if answer.status_code == 200 else []
        for found in page:
            study, series, instance = (
                found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")
            )
            held[instance] = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        if len(page) < 1000:
            return held
        offset += 1000
