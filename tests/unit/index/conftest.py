"""An index on each engine, and made-up instances to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from filmroom.index.engine import Place
from filmroom.index.queries import SqlIndex, open_index
from pooler import pooler
from postgres_cluster import Cluster, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL with a migrated database named `template_filmroom`."""
    with cluster() as running:
        open_index(running.database(name="template_filmroom")).close()
        yield running


@pytest.fixture(scope="session")
def pooled(postgres) -> Iterator[Callable[[], Place]]:
    """Makes places behind a pooler: namespaces of one database, which has nothing else."""
    direct, numbers = postgres.database(), count(1)
    with pooler(postgres) as running:
        yield lambda: Place(running.url(direct), f"films_{next(numbers)}", True, direct)


@pytest.fixture(params=["sqlite", "postgres", "pooler"])
def index_url(request, tmp_path) -> Place:
    """Where an index is: nothing in it yet."""
    if request.param == "sqlite":
        return Place(f"sqlite://{tmp_path}/index.sqlite")
    if request.param == "postgres":
        return Place(request.getfixturevalue("postgres").database("template_filmroom"))
    return request.getfixturevalue("pooled")()


@pytest.fixture
def index(index_url) -> Iterator[SqlIndex]:
    opened = open_index(index_url)
    yield opened
    opened.close()
