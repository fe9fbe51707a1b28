"""A real archive in a temporary folder, to import into."""

import pytest

from filmroom.config import Settings
from filmroom.storeroom import Storeroom


@pytest.fixture
def room(tmp_path):
    settings = Settings.model_validate(
        {"data": str(tmp_path / "data"), "archive": {"min_free_bytes": 0}}
    )
    room = Storeroom(settings)
    room.open()
    yield room
    room.close()


@pytest.fixture
def held(room):
    """held(): how many instances the archive holds."""
    return lambda: room.index.statistics().instances
