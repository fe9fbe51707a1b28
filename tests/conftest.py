"""What every kind of test may ask for: a real filmroom, and peers that nobody here wrote."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

import nodes
from hostile_watch import Watch
from nodes import FilmroomProcess
from object_store import ACCESS_KEY, SECRET_KEY, object_server
from postgres_cluster import cluster


def need(program: str) -> str:
    """The path of a peer program; missing is a failure in CI and a skip elsewhere."""
    # pynetdicom brings commands of the same names as dcmtk's, beside our Python.
    ours = str(Path(sys.executable).parent)
    folders = [each for each in os.environ["PATH"].split(os.pathsep) if each != ours]
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        message = f"{program} is not installed: run tools/setup_tests.sh"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session", autouse=True)
def stores():
    """With FILMROOM_TEST_STORES=postgresql+s3 every node keeps everything there."""
    if os.environ.get("FILMROOM_TEST_STORES") != "postgresql+s3":
        yield
        return
    keys = {
        "FILMROOM__BLOBS__ACCESS_KEY": ACCESS_KEY,
        "FILMROOM__BLOBS__SECRET_KEY": SECRET_KEY,
    }
    with cluster() as database, object_server() as server:
        nodes.ELSEWHERE.append(nodes.Elsewhere(database, server, keys))
        yield
        nodes.ELSEWHERE.clear()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL for all tests that only want a database."""
    with cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request, monkeypatch):
    """What is started from here on has its index on this engine."""
    if nodes.ELSEWHERE:
        if request.param == "sqlite":
            pytest.skip("every index is on PostgreSQL")
    elif request.param == "postgres":
        monkeypatch.setenv("FILMROOM__INDEX__URL", request.getfixturevalue("postgres").database())
    return request.param


@pytest.fixture
def start_node(tmp_path_factory):
    """Start filmrooms: start_node('--samples', environment={...})."""
    started = []

    def start(*options, environment=None, folder=None) -> FilmroomProcess:
        folder = folder or tmp_path_factory.mktemp("filmroom")
        node = FilmroomProcess(folder, options, environment or {})
        started.append(node)
        return node.start()

    yield start
    for node in started:
        node.kill()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One filmroom for all tests of a module, empty at first; any peer may do anything."""
    process = FilmroomProcess(
        tmp_path_factory.mktemp("filmroom"),
        environment={
            "FILMROOM__DIMSE__UNKNOWN_PEERS": '["echo", "store", "query", "retrieve"]',
        },
    ).start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def watch(node):
    """Watches `node` while something is done to it."""
    watch = Watch(node)
    yield watch
    watch.check_names()


@pytest.fixture(scope="session")
def peer_program():
    """peer_program('storescu') is the path of dcmtk's storescu."""
    return need
