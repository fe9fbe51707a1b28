"""kill -9 at any instant: what was acknowledged is held, and nothing half is seen."""

from __future__ import annotations

import os
import random
import time

import pytest

from instances import data_set_bytes
from senders import AS_STORED, Senders, held_instances, templates

ROUNDS = int(os.environ.get("FILMROOM_CRASH_ROUNDS", "20"))


@pytest.mark.elsewhere
@pytest.mark.crash
@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_kill_9_during_a_store_of_four_associations_loses_nothing_acknowledged(
    start_node, peer_program, tmp_path
):
    storescu = peer_program("storescu")
    made_from = templates()
    node = start_node()
    held = {}
    total = cut = 0
    for round_number in range(ROUNDS):
        senders = Senders(storescu, tmp_path, made_from, round_number).start(node.dimse_port)
        senders.wait_for_an_answer()
        time.sleep(random.Random(round_number).uniform(0, 0.9))
        node.kill()
        acknowledged = senders.acknowledged()
        cut += senders.interrupted
        node.start()
        assert node.temporary_files() == []
        with node.client() as client:
            held = held_instances(client)
            lost = [name for name in acknowledged if name not in held]
            assert lost == [], f"round {round_number}: {len(lost)} of {len(acknowledged)} lost"
            for name in held.keys() & senders.sent.keys():
                answer = client.get(held[name], headers=AS_STORED)
                assert answer.status_code == 200, answer.text
                assert data_set_bytes(answer.content) == senders.sent[name], "not what was sent"
        total += len(acknowledged)
    assert total > ROUNDS, "hardly anything was stored: the test has no teeth"
    assert cut > ROUNDS, "hardly anybody was interrupted: the test has no teeth"
    assert len(node.stored()) == len(held), "a file without a row"
    print(f"{ROUNDS} rounds, {total} acknowledged, 0 lost, {cut} senders cut off")
