"""Peers, quarantine, statistics."""

import pytest

from filmroom.archive.errors import Unintelligible
from filmroom.archive.records import Origin, Outcome, Quarantined, Stored

KEY = "0123456789abcdef0123456789abcdef.dcm"
HOSTILE = "1.2.3\r\n<script>alert(1)</script>"


@pytest.fixture
def quarantined(archive, folder):
    (folder / "quarantine" / KEY).write_bytes(b"not a data set")
    row = Quarantined(7, KEY, "cut off", HOSTILE, Origin("dimse", "CT1", "10.0.0.5"), 14, 1.5)
    archive.index.put_quarantined(row)
    return folder / "quarantine" / KEY


class AnIngest:
    """Takes everything, or fails."""

    def __init__(self, failure=None):
        self.failure = failure
        self.written = b""
        self.abandoned = False

    def open_file(self, origin, *, is_kept_already):
        assert is_kept_already
        self.origin = origin
        return self

    def write(self, data):
        self.written += data

    async def commit(self):
        if self.failure:
            raise self.failure
        return Stored(Outcome.NEW, "1.1", "1.2", "1.3", "1.4")

    def abandon(self):
        self.abandoned = True


async def test_the_quarantine_is_listed_with_where_it_came_from(enter, quarantined):
    admin = await enter("admin")
    (row,) = (await admin.get("/api/quarantine")).json()
    assert row["id"] == 7
    assert row["reason"] == "cut off"
    assert row["origin"]["name"] == "CT1"
    assert "key" not in row


async def test_a_quarantined_file_is_downloaded_never_shown(enter, quarantined):
    admin = await enter("admin")
    answer = await admin.get("/api/quarantine/7/file")
    assert answer.content == b"not a data set"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="quarantined-7.dcm"'


async def test_deleting_removes_row_and_file(enter, quarantined):
    admin = await enter("admin")
    assert (await admin.delete("/api/quarantine/7")).status_code == 204
    assert not quarantined.exists()
    assert (await admin.get("/api/quarantine")).json() == []
    assert (await admin.delete("/api/quarantine/7")).status_code == 404


async def test_a_retry_that_works_empties_the_quarantine(enter, quarantined, archive):
    archive.ingest = AnIngest()
    admin = await enter("admin")
    answer = await admin.post("/api/quarantine/7/retry")
    assert answer.json()["outcome"] == "new"
    assert archive.ingest.written == b"not a data set"
    assert archive.ingest.origin.name == "CT1"
    assert not quarantined.exists()


async def test_a_retry_that_fails_leaves_it_where_it_is(enter, quarantined, archive):
    archive.ingest = AnIngest(Unintelligible("still cut off"))
    admin = await enter("admin")
    answer = await admin.post("/api/quarantine/7/retry")
    assert (answer.status_code, answer.json()["detail"]) == (400, "still cut off")
    assert archive.ingest.abandoned
    assert quarantined.exists()


@pytest.mark.parametrize("key", ["../index.sqlite", "/etc/passwd", "x.dcm", KEY + "/../../x"])
async def test_a_row_never_leads_out_of_the_quarantine(enter, archive, folder, key):
    (folder / "index.sqlite").write_bytes(b"the index")
    archive.index.put_quarantined(Quarantined(8, key, "", "", Origin("x"), 1, 1.0))
    admin = await enter("admin")
    assert (await admin.get("/api/quarantine/8/file")).status_code == 404
    assert (await admin.delete("/api/quarantine/8")).status_code == 404
    assert (folder / "index.sqlite").exists()


@pytest.mark.parametrize("id", ["x", "-1", "1.5", "9" * 5000, "٣"])
async def test_a_made_up_id_is_404(enter, id):
    admin = await enter("admin")
    assert (await admin.get(f"/api/quarantine/{id}/file")).status_code == 404


async def test_peers_are_shown_as_configured(enter):
    admin = await enter("admin")
    assert (await admin.get("/api/peers")).json() == [
        {
            "ae_title": "STORESCP",
            "host": "127.0.0.1",
            "port": 11113,
            "tls": False,
            "may": ["echo"],
            "forward": False,
            "in_settings": True,
        }
    ]


async def test_statistics_are_for_everybody_who_searches(enter):
    viewer = await enter("viewer")
    said = (await viewer.get("/api/statistics")).json()
    assert (said["studies"], said["instances"], said["free_bytes"]) == (2, 4, 10**9)


async def test_an_index_that_is_away_is_said_without_secrets(enter, archive):
    admin = await enter("admin")
    archive.index.away = True
    answer = await admin.get("/api/statistics")
    assert answer.status_code == 503
    assert "secret path" not in answer.text
