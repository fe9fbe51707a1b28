"""How PostgreSQL finds what it is asked for, by its own count of rows read one after the other."""

import psycopg
import pytest

from filmroom.archive.records import Query
from filmroom.dicom.match import Single
from filmroom.dicom.models import Level
from filmroom.index.queries import open_index
from index_rows import an_instance


@pytest.fixture
def url(postgres):
    return postgres.database("template_filmroom")


def read_in_sequence(index):
    """Rows of `instance` that were read by going through all of them."""
    rows = index._engine.rows
    rows("SELECT pg_stat_force_next_flush()")  # else an idle backend keeps it for ten seconds
    return rows("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'instance'")[0][0]


def store_and_look(index, numbers):
    """A study of eight at a time, each looked up and searched for afterwards."""
    for n in numbers:
        batch = [
            an_instance(
                PatientID=f"P{n}",
                StudyInstanceUID=f"1.{n}",
                SeriesInstanceUID=f"1.{n}.1",
                SOPInstanceUID=f"1.{n}.1.{image}",
            )
            for image in range(8)
        ]
        index.add(batch)
        assert index.held([new.instance.uid for new in batch])
        (study,) = index.search(Query(Level.STUDY, {"PatientID": Single(f"P{n}")}))
        assert study.study_instances == 8


def test_a_table_that_was_empty_when_storing_began_is_not_read_whole_when_it_has_grown(url):
    with psycopg.connect(url) as connection:  # it would be analysed sooner or later
        connection.execute("ALTER TABLE instance SET (autovacuum_enabled = off)")
    index = open_index(url)
    store_and_look(index, range(400))
    before = read_in_sequence(index)
    store_and_look(index, range(400, 440))
    read = read_in_sequence(index) - before
    index.close()
    assert read < 3_000  # each of the forty would read more
