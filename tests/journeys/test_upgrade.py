"""Two nodes are upgraded one after the other while they work; then the old version is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import filmroom
from filmroom.index.migrate import steps
from instances import data_set_bytes
from nodes import FilmroomProcess
from senders import AS_STORED, Senders, contents, held_instances, templates

OURS = Path(filmroom.__file__).parent
NEXT = f"{filmroom.__version__}.next"
REFUSAL = "this filmroom knows steps up to"
ASSOCIATIONS, FILES = 4, 400
PRE = """ALTER TABLE instance ADD COLUMN note text;
CREATE TABLE remark (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text);"""
POST = """ALTER TABLE instance ALTER COLUMN note SET DEFAULT '';
DROP TABLE remark;"""

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]


@pytest.fixture
def next_version(tmp_path):
    """A copy of filmroom that calls itself the next one, and changes the schema twice."""
    source = tmp_path / "next"
    package = source / "filmroom"
    shutil.copytree(OURS, package, ignore=shutil.ignore_patterns("__pycache__"))
    said = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(said.replace(filmroom.__version__, NEXT))
    for number, name, sql in ((901, "pre_note", PRE), (902, "post_note", POST)):
        for dialect in ("postgres", "sqlite"):
            step = package / "index" / "sql" / f"{number}_{name}.{dialect}.sql"
            step.write_text(sql)
    return source


def upgraded(node, source) -> FilmroomProcess:
    """The same node, to be started as the next version."""
    node.environment = node.environment | {"PYTHONPATH": str(source)}
    return node


def started(node):
    """Start it; the version it says it is."""
    before = node.log.stat().st_size if node.log.exists() else 0
    node.start()
    said = node.log.read_bytes()[before:].decode()
    return next(line.split()[1] for line in said.splitlines() if line.startswith("filmroom "))


def migrate(node, *options, source=None):
    """`filmroom migrate`, ours or the next version's."""
    command = [sys.executable, "-m", "filmroom.cli.main", "migrate", *options]
    path = {"PYTHONPATH": str(source or OURS.parent)}
    environment = os.environ | node.environment | path
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def shown(node, *options, source=None):
    done = migrate(node, "--json", *options, source=source)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_nodes_are_upgraded_while_they_receive(several, next_version, peer_program, tmp_path):
    first, second = several.nodes
    senders = Senders(
        peer_program("storescu"),
        tmp_path,
        templates(),
        0,
        associations=ASSOCIATIONS,
        files=FILES,
    ).start(several.dimse_port)
    with ThreadPoolExecutor(1) as beside:
        finished = beside.submit(senders.finish, 300)
        assert first.stop() == 0
        assert started(upgraded(first, next_version)) == NEXT
        assert shown(first, source=next_version)["waiting"] == ["902_post_note"]
        assert shown(second)["newer"] == ["901_pre_note"]

        second.kill()  # it dies, and comes back as what it was
        assert started(second) == filmroom.__version__
        assert "has prepared its upgrade: this one may go on" in second.log.read_text()
        refused = migrate(first, "--post", source=next_version)
        assert refused.returncode == 1
        assert "still at work on the index: " in refused.stderr
        assert f"({filmroom.__version__}); upgrade those first" in refused.stderr
        held_meanwhile(several, senders)
        assert not finished.done(), "all was sent before the upgrade was over: no teeth"

        assert second.stop() == 0
        assert started(upgraded(second, next_version)) == NEXT
        assert shown(first, "--post", source=next_version)["done"] == ["902_post_note"]
        assert shown(first, source=next_version)["waiting"] == []
        acknowledged = finished.result()
    assert senders.interrupted >= ASSOCIATIONS
    assert sorted(acknowledged) == sorted(senders.sent)
    with first.client() as client:
        assert contents(client) == senders.sent
    names = [path.rpartition("/")[2].partition("_")[0] for path in several.objects()]
    assert sorted(names) == sorted(senders.sent)
    for node in several.nodes:
        assert "Traceback" not in node.log.read_text()
    the_old_version_is_refused(second)


def held_meanwhile(several, senders):
    """Every node gives back all that was acknowledged until now; some of it is compared."""
    acknowledged = set(senders.acknowledged_so_far())
    for node in several.nodes:
        with node.client() as client:
            held = held_instances(client)
            assert acknowledged <= held.keys()
            for name in sorted(held)[:: len(held) // 50 or 1]:
                answer = client.get(held[name], headers=AS_STORED)
                assert data_set_bytes(answer.content) == senders.sent[name]
    print(f"{len(acknowledged)} of {len(senders.sent)} acknowledged meanwhile")


def the_old_version_is_refused(node):
    assert node.stop() == 0
    node.environment = {k: v for k, v in node.environment.items() if k != "PYTHONPATH"}
    with pytest.raises(AssertionError, match="filmroom ended"):
        node.start()
    last = node.log.read_text().splitlines()[-1]
    known = steps("postgres")[-1].number
    assert last.startswith(
        f"filmroom: the index has schema step 902, {REFUSAL} {known}: use the filmroom that made it"
    )
    refused = migrate(node)
    assert refused.returncode == 1
    assert REFUSAL in refused.stderr
