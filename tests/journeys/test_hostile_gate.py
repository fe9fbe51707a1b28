"""The gate: the whole hostile corpus, one live server, and nothing that must not happen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hostile_corpus
from hostile_gate import SPY, Gate

pytestmark = pytest.mark.hostile

ROOT = Path(__file__).parents[2]
AT_LEAST = {"dimse": 140, "file": 180, "archive": 20, "http": 280}


@pytest.mark.elsewhere
def test_the_whole_corpus_harms_nobody(tmp_path):
    gate = Gate(tmp_path / "gate")
    manifest = hostile_corpus.write(tmp_path / "corpus", gate.canary)
    with gate:
        for one in hostile_corpus.read(manifest):
            gate.send(one)
        gate.import_all(hostile_corpus.read(manifest))
        print(gate)
        gate.finish()
    assert sum(gate.sent.values()) >= 600
    assert {door: min(gate.sent[door], least) for door, least in AT_LEAST.items()} == AT_LEAST


def test_the_corpus_is_the_same_every_time(tmp_path):
    """Its bytes come from nothing but the script."""
    made = []
    for name in ("once", "again"):
        program = [sys.executable, ROOT / "tools" / "make_hostile.py", tmp_path / name]
        subprocess.run(program, check=True, capture_output=True, timeout=120)
        made.append((tmp_path / name / "manifest.json").read_bytes())
    assert made[0] == made[1]


MISDEEDS = {
    "a file beside the folder": "open('../outside', 'w')",
    "a folder beside it": "import os; os.mkdir('/tmp/nowhere/x')",
    "a file moved out": "import os; open('x', 'w'); os.rename('x', '../x')",
    "a program": "import subprocess; subprocess.run(['true'])",
    "a shell": "import os; os.system('true')",
    "a call": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "a look at accounts": "open('/etc/passwd')",
}


@pytest.mark.parametrize("deed", MISDEEDS.values(), ids=MISDEEDS.keys())
def test_the_witness_tells_of_every_misdeed(tmp_path, deed):
    """What the gate relies on would be seen; honest work in the folder would not."""
    inside, spied = tmp_path / "inside", tmp_path / "spied"
    inside.mkdir()
    watching = {"PYTHONPATH": str(SPY), "SPY_LOG": str(spied), "SPY_ALLOWED": f"{inside}/"}
    for done in ("open('mine', 'w').write('x'); import os; os.remove('mine')", deed):
        told = spied.read_text() if spied.exists() else ""
        assert told == ""
        program = [sys.executable, "-c", done]
        subprocess.run(program, cwd=inside, env=os.environ | watching, stderr=subprocess.DEVNULL)
    assert spied.read_text() != ""
