"""kill -9 of a process that writes: everything it said was stored is there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from filmroom.archive.records import Query
from filmroom.dicom.models import Level
from filmroom.index.queries import open_index
from index_rows import an_instance

WRITER = """
import json, sys
sys.path.insert(0, sys.argv[2])
from filmroom.index.engine import Place
from filmroom.index.queries import open_index
from index_rows import an_instance
index = open_index(Place(**json.loads(sys.argv[1])))
for n in range(1_000_000):
    uids = [f"1.{n // 20}.1.{n}.{i}" for i in range(4)]
    index.add([
        an_instance(PatientID=f"P{n // 40}", StudyInstanceUID=f"1.{n // 20}",
                    SeriesInstanceUID=f"1.{n // 20}.1", SOPInstanceUID=uid) for uid in uids
    ])
    print(*uids, flush=True)
"""
TESTS = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seconds", [0.15, 0.4])
def test_what_was_acknowledged_survives_a_kill(index_url, seconds):
    place = json.dumps(asdict(index_url))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, place, TESTS], stdout=subprocess.PIPE, text=True
    )
    first = writer.stdout.readline()
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    acknowledged = (first + writer.stdout.read()).rpartition("\n")[0].split()
    writer.wait()
    assert len(acknowledged) >= 4
    index = open_index(index_url)
    try:
        assert index.held(acknowledged).keys() == set(acknowledged)
        statistics = index.statistics()
        assert statistics.instances % 4 == 0
        assert statistics.instances == len(list(index.keys())) == len(index.events(limit=10**6))
        patients = index.search(Query(Level.PATIENT, {}))
        assert sum(p.patient_instances for p in patients) == statistics.instances
    finally:
        index.close()


def test_connections_that_were_cut_while_nobody_used_them_cost_no_store(postgres):
    url = postgres.database("template_filmroom")
    index = open_index(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for n in range(3):
            assert index.add([an_instance(SOPInstanceUID=f"1.2.{n}")]) == [True]
            cut = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'filmroom'"
            )
            assert cut.fetchall()
            time.sleep(0.2)
    assert index.statistics().instances == 3
    index.close()
