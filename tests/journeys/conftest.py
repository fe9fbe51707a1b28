"""What stories of several nodes have in common: a database, an object store, nodes on both."""

from __future__ import annotations

import pytest

from browser import chromium
from object_store import object_server
from postgres_cluster import cluster
from several import Several


@pytest.fixture(scope="module")
def database():
    """PostgreSQL; a test that stops it starts it again."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def server():
    """SeaweedFS; a test that stops it starts it again."""
    with object_server() as running:
        yield running


@pytest.fixture
def several(tmp_path, database, server):
    """Two nodes on both."""
    made = Several(tmp_path, database.database(), server.place())
    yield made.start()
    made.kill()


@pytest.fixture(scope="module")
def browser(peer_program):
    """A Chromium for the people of a module."""
    with chromium(peer_program("chromium")) as started:
        yield started
