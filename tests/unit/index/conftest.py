"""An index on each engine, and made-up instances to put into it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filmroom.index.queries import SqlIndex, open_index
from postgres_cluster import Cluster, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL with a migrated database named `template_filmroom`."""
    with cluster() as running:
        open_index(running.database(name="template_filmroom")).close()
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def index_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/index.sqlite"
    return request.getfixturevalue("postgres").database("template_filmroom")


@pytest.fixture
def index(index_url) -> Iterator[SqlIndex]:
    opened = open_index(index_url)
    yield opened
    opened.close()
