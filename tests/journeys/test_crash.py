"""kill -9 at any instant: what was acknowledged is held, and nothing half is seen."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from instances import CT_IMAGE_STORAGE, a_data_set, data_set_bytes, part10
from nodes import AE_TITLE

ROUNDS = int(os.environ.get("FILMROOM_CRASH_ROUNDS", "20"))
ASSOCIATIONS = 4


def send_until_dead(port, data_sets, acknowledged):
    """Store one after the other over one association; remember each Success."""
    ae = AE("CRASHTEST")
    ae.add_requested_context(CT_IMAGE_STORAGE, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title=AE_TITLE)
    try:
        for ds in data_sets:
            if not association.is_established:
                return
            status = association.send_c_store(ds)
            if status and status.Status == 0x0000:
                acknowledged.append(str(ds.SOPInstanceUID))
    except (RuntimeError, ValueError, OSError, AttributeError):
        return  # the server was killed under us
    finally:
        association.abort()


def a_load(seed):
    """Data sets for one sender, of one series, some of them larger than one PDU."""
    sizes = random.Random(seed)
    first = a_data_set()
    for number in range(400):
        side = sizes.choice([16, 32, 400])
        ds = a_data_set(
            rows=side,
            columns=side,
            StudyInstanceUID=first.StudyInstanceUID,
            SeriesInstanceUID=first.SeriesInstanceUID,
            InstanceNumber=number,
        )
        part10(ds)  # gives it a meta header, as a file has one
        yield ds


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_kill_9_during_a_store_of_four_associations_loses_nothing_acknowledged(start_node):
    node = start_node()
    sent = {}
    total = 0
    for round_number in range(ROUNDS):
        acknowledged: list[str] = []
        senders = []
        for number in range(ASSOCIATIONS):
            load = list(a_load(round_number * 10 + number))[:120]
            sent |= {str(ds.SOPInstanceUID): data_set_bytes(part10(ds)) for ds in load}
            arguments = (node.dimse_port, load, acknowledged)
            senders.append(threading.Thread(target=send_until_dead, args=arguments))
        for sender in senders:
            sender.start()
        time.sleep(random.Random(round_number).uniform(0.2, 1.2))
        node.kill()
        for sender in senders:
            sender.join(30)
        node.start()
        assert node.temporary_files() == []
        with node.client() as client:
            held = held_instances(client)
            lost = [uid for uid in acknowledged if uid not in held]
            assert lost == [], f"round {round_number}: {len(lost)} of {len(acknowledged)} lost"
            for uid, url in held.items():
                if uid in acknowledged or round_number == ROUNDS - 1:
                    accept = {"Accept": "application/dicom; transfer-syntax=*"}
                    answer = client.get(url, headers=accept)
                    assert answer.status_code == 200, answer.text
                    assert data_set_bytes(answer.content) == sent[uid], "not what was sent"
        total += len(acknowledged)
    assert total > ROUNDS, "hardly anything was stored: the test has no teeth"
    assert len(node.stored_files()) == len(held), "a file without a row"
    print(f"{ROUNDS} rounds, {total} acknowledged, 0 lost")


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
