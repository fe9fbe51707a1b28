"""Several nodes, and kill -9 of any of them amid eight associations: the others go on.

FILMROOM_NODES_ROUNDS says how often, with two nodes and with four; twice unless told.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from instances import data_set_bytes
from senders import AS_STORED, Senders, held_instances, study_uid, templates
from several import Several

ROUNDS = int(os.environ.get("FILMROOM_NODES_ROUNDS", "2"))
ASSOCIATIONS, FILES = 8, 60

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300 + 60 * ROUNDS)]


def compared(client, senders):
    """What is held of a round, every data set byte by byte as it was sent."""
    studies = [study_uid(senders.round_number, n) for n in range(ASSOCIATIONS)]
    held = held_instances(client, StudyInstanceUID=",".join(studies))
    for name, path in held.items():
        answer = client.get(path, headers=AS_STORED)
        assert answer.status_code == 200, answer.text
        assert data_set_bytes(answer.content) == senders.sent[name], "not what was sent"
    return held


@pytest.mark.parametrize("count", [2, 4])
def test_kill_9_of_any_node_loses_nothing_and_what_was_cut_off_is_sent_again(
    count, tmp_path, database, server, peer_program
):
    several = Several(tmp_path, database.database(), server.place(), count)
    try:
        killed_in_turn(several.start(), peer_program("storescu"), tmp_path)
    finally:
        several.kill()


def killed_in_turn(several, program, folder):
    made_from = templates()
    total = cut = 0
    began = time.monotonic()
    for round_number in range(ROUNDS):
        chance = random.Random(round_number)
        victim = several.nodes[round_number % len(several.nodes)]
        other = chance.choice([node for node in several.nodes if node is not victim])
        senders = Senders(
            program, folder, made_from, round_number, associations=ASSOCIATIONS, files=FILES
        ).start(several.dimse_port)
        senders.wait_for_an_answer()
        time.sleep(chance.uniform(0, 0.9))
        victim.kill()
        with ThreadPoolExecutor(1) as beside:  # senders call again while it starts
            finished = beside.submit(senders.finish)
            with other.client() as client:
                assert client.get("/dicom-web/studies?limit=1").status_code == 200
                early = senders.acknowledged_so_far()
                held = compared(client, senders)
                assert [name for name in early if name not in held] == [], "acknowledged and lost"
            victim.start()
            acknowledged = finished.result()
        assert sorted(acknowledged) == sorted(senders.sent), "one was acknowledged twice, or never"
        with victim.client() as client:
            assert compared(client, senders).keys() == senders.sent.keys()
        assert victim.temporary_files() == []
        total += len(acknowledged)
        cut += senders.interrupted
        print(f"round {round_number}: {len(acknowledged)} acknowledged, {senders.interrupted} cut")
    check_the_store(several, total)
    assert cut >= ROUNDS, "hardly anybody was interrupted: the test has no teeth"
    seconds = time.monotonic() - began
    print(
        f"{len(several.nodes)} nodes, {ROUNDS} rounds of {ASSOCIATIONS} associations: {total} "
        f"acknowledged, 0 lost, {cut} senders cut off, {seconds:.0f} s"
    )


def check_the_store(several, total):
    """An object for every row, a row for every object, and each of them once."""
    with several.nodes[0].client() as client:
        held = held_instances(client)
    names = [path.rpartition("/")[2].partition("_")[0] for path in several.objects()]
    assert sorted(names) == sorted(held), "an object without a row, or twice"
    assert len(held) == total
    assert several.objects("quarantine") == []
