"""Jobs, leases and nodes, on both engines."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from filmroom.archive.jobs import MOST_ATTEMPTS, NewJob, State
from filmroom.index.jobs import MOST_LEASES_LOST
from filmroom.index.queries import open_index
from index_rows import stored

KINDS = ["send"]


def a_job(subject="1.2", lane="to A", **more):
    return NewJob("send", lane, subject, {"study": subject}, **more)


def take(index, node="one", seconds=60.0):
    return index.jobs.take(node, KINDS, seconds)


def test_a_job_is_taken_once_and_done(index):
    (id_,) = index.jobs.put([a_job()])
    job = take(index)
    assert (job.id, job.state, job.node, job.body) == (id_, State.RUNNING, "one", {"study": "1.2"})
    assert take(index, "two") is None
    assert index.jobs.renew(job, {"sent": 3}, 60.0)
    assert index.jobs.job(id_).progress == {"sent": 3}
    assert index.jobs.finish(job, {"sent": 4})
    done = index.jobs.job(id_)
    assert (done.state, done.progress, done.node) == (State.DONE, {"sent": 4}, "")
    assert not index.jobs.renew(job, {}, 60.0), "it is over"
    assert index.jobs.counts() == {**dict.fromkeys(State, 0), State.DONE: 1}


def test_the_same_waits_only_once_and_may_wait_while_it_runs(index):
    first = index.jobs.put([a_job(), a_job()])
    assert first[0] == first[1]
    job = take(index)
    (again,) = index.jobs.put([a_job()])
    assert again != job.id, "what runs may have begun before what is new was there"
    assert take(index) is None, "a lane is served one after the other"
    index.jobs.finish(job, {})
    assert take(index).id == again


def test_what_waits_begins_anew_when_it_is_put_again_for_there_may_be_more_to_do(index):
    (id_,) = index.jobs.put([a_job(priority=10)])
    job = take(index)
    index.jobs.put_back(job, {"at": "the middle"}, "cut off", 0, counted=True)
    assert index.jobs.put([a_job(priority=0)]) == [id_]
    again = index.jobs.job(id_)
    assert (again.progress, again.attempts, again.priority) == ({}, 0, 0)
    index.jobs.put([a_job(priority=5)])
    assert index.jobs.job(id_).priority == 0


def test_one_that_never_gets_through_where_others_do_fails_in_the_end(index):
    """It goes behind its siblings, and what it costs them is a pause."""
    (id_,) = index.jobs.put([a_job("bad")])
    for n in range(MOST_ATTEMPTS):
        bad = take(index)
        assert bad.id == id_
        index.jobs.put([a_job(str(n))])
        time.sleep(0.005)  # SQLite tells milliseconds
        index.jobs.put_back(bad, {}, "it aborts", 0, counted=True, lane_rests=lambda failures: -1.0)
        sibling = take(index)
        assert sibling.subject == str(n), "others come first"
        index.jobs.finish(sibling, {})
    assert take(index) is None
    failed = index.jobs.job(id_)
    assert (failed.state, failed.attempts) == (State.FAILED, MOST_ATTEMPTS)
    assert failed.reason == "it aborts"


def test_a_dead_destination_costs_no_attempts_but_the_first(index):
    index.jobs.put([a_job()])
    for _ in range(MOST_ATTEMPTS * 2):
        index.jobs.put_back(
            take(index), {}, "dead", 0, counted=True, lane_rests=lambda failures: -1.0
        )
    assert take(index).attempts == 1


def test_what_comes_back_while_the_same_waits_is_dropped(index):
    index.jobs.put([a_job()])
    job = take(index)
    (again,) = index.jobs.put([a_job()])
    assert index.jobs.put_back(job, {}, "lost", 0, counted=True)
    assert index.jobs.job(job.id).state is State.CANCELLED
    assert take(index).id == again


def test_a_lease_that_ran_out_is_taken_over_and_the_first_holder_has_no_say(index):
    index.jobs.put([a_job()])
    lost = take(index, "one", seconds=-1.0)
    job = take(index, "two")
    assert (job.id, job.node, job.losses, job.attempts) == (lost.id, "two", 1, 0)
    assert not index.jobs.renew(lost, {"sent": 9}, 60.0)
    assert not index.jobs.finish(lost, {})
    assert not index.jobs.put_back(lost, {}, "", 0, counted=True)
    assert not index.jobs.give_up(lost, {}, "")
    assert index.jobs.job(job.id).state is State.RUNNING
    assert index.jobs.finish(job, {})


def test_a_job_that_takes_its_node_down_each_time_fails_in_the_end(index):
    (id_,) = index.jobs.put([a_job()])
    for _ in range(MOST_LEASES_LOST):
        assert take(index, seconds=-1.0).id == id_
    assert take(index) is None
    failed = index.jobs.job(id_)
    assert failed.state is State.FAILED
    assert "has gone" in failed.reason


def test_a_node_that_starts_again_puts_back_what_it_was_doing(index):
    index.jobs.put([a_job("1", "to A"), a_job("2", "to B")])
    take(index, "one")
    take(index, "two")
    assert index.jobs.reap("one") == 1
    assert take(index, "one").subject == "1"


def test_lanes_take_turns_and_one_that_rests_delays_no_other(index):
    index.jobs.put([a_job(str(n), "to A") for n in range(3)])
    index.jobs.put([a_job(str(n), "to B") for n in range(3, 5)])
    first = take(index)
    assert first.lane == "to A"
    asked = []
    index.jobs.put_back(
        first, {}, "dead", 0, counted=False, lane_rests=lambda n: asked.append(n) or 60.0
    )
    assert asked == [0]
    for _ in range(2):
        job = take(index)
        assert job.lane == "to B"
        index.jobs.finish(job, {})
    assert take(index) is None
    lanes = {lane.name: lane for lane in index.jobs.lanes()}
    assert lanes["to A"].rests_until > time.time()
    assert (lanes["to A"].waiting, lanes["to A"].failures) == (3, 1)
    assert index.jobs.retry(first.id)
    assert take(index).lane == "to A", "somebody wants it tried now"


def test_a_lane_that_answers_again_forgets_its_failures(index):
    index.jobs.put([a_job()])
    asked = []
    for _ in range(3):
        index.jobs.put_back(
            take(index), {}, "dead", 0, counted=False, lane_rests=lambda n: asked.append(n) or -1.0
        )
    assert asked == [0, 1, 2]
    index.jobs.finish(take(index), {})
    assert index.jobs.lanes()[0].failures == 0


def test_the_urgent_come_first_and_what_is_put_off_waits(index):
    index.jobs.put([a_job("1"), a_job("2", priority=-1), a_job("3", delay_seconds=60)])
    order = []
    while job := take(index):
        order.append(job.subject)
        index.jobs.finish(job, {})
    assert order == ["2", "1"]


def test_kinds_that_a_node_does_not_know_are_left_to_others(index):
    index.jobs.put([a_job()])
    assert index.jobs.take("old", ["other"], 60.0) is None
    assert take(index) is not None


def test_what_is_cancelled_is_let_go_and_can_be_tried_again(index):
    (id_,) = index.jobs.put([a_job()])
    job = take(index)
    assert index.jobs.cancel(id_, "by hand")
    assert not index.jobs.renew(job, {}, 60.0)
    assert take(index) is None
    assert not index.jobs.cancel(id_, "again")
    assert index.jobs.retry(id_)
    assert take(index).id == id_
    assert not index.jobs.retry(id_), "it runs"
    assert not index.jobs.cancel(10**9, "no such job")


def test_what_was_given_up_stays_for_somebody_to_look_at(index):
    (id_,) = index.jobs.put([a_job()])
    assert index.jobs.give_up(take(index), {"sent": 1}, "no such peer\0")
    failed = index.jobs.job(id_)
    assert (failed.state, failed.reason, failed.attempts) == (State.FAILED, "no such peer", 1)
    assert index.jobs.retry(id_)
    assert index.jobs.job(id_).attempts == 0
    assert take(index).progress == {"sent": 1}


def test_jobs_are_listed_newest_first_page_by_page(index):
    ids = index.jobs.put([a_job(str(n)) for n in range(5)])
    assert [job.id for job in index.jobs.jobs(limit=2)] == ids[:-3:-1]
    assert [job.id for job in index.jobs.jobs(before_id=ids[2])] == ids[1::-1]
    assert index.jobs.jobs([State.DONE]) == []
    assert index.jobs.job(10**9) is None


def test_what_ended_long_ago_is_forgotten(index):
    index.jobs.put([a_job("1"), a_job("2", "to B")])
    index.jobs.finish(take(index), {})
    index.jobs.trim(60.0)
    assert len(index.jobs.jobs()) == 2
    index.jobs.trim(-1.0)
    assert [job.subject for job in index.jobs.jobs()] == ["2"]
    assert [lane.name for lane in index.jobs.lanes()] == ["to B"]


def test_all_that_waits_or_runs_is_cancelled_at_once(index):
    index.jobs.put([a_job(str(n)) for n in range(3)])
    take(index)
    assert index.jobs.cancel_all("restored") == 3
    assert index.jobs.counts()[State.CANCELLED] == 3


@pytest.mark.parametrize("workers", [8])
def test_many_that_take_at_once_get_each_job_once(index, workers):
    index.jobs.put([a_job(str(n), f"to {n % 7}") for n in range(60)])

    def work(node):
        done = []
        while job := take(index, str(node)):
            assert index.jobs.finish(job, {})
            done.append(job.subject)
        return done

    with ThreadPoolExecutor(workers) as pool:
        found = [subject for done in pool.map(work, range(workers)) for subject in done]
    # A lane that another held at the last look may leave a few to whoever looks again.
    found += work("late")
    assert sorted(found, key=int) == [str(n) for n in range(60)]


def test_jobs_survive_the_index_being_made_anew_and_opened_again(index_url):
    index = open_index(index_url)
    (id_,) = index.jobs.put([a_job()])
    index.clear()
    index.close()
    index = open_index(index_url)
    assert index.jobs.job(id_).state is State.WAITING
    index.close()


# -- the outbox ---------------------------------------------------------------------------------
def test_a_feed_makes_jobs_of_what_happens_from_now_on_each_event_once(index):
    stored(index, "1", "1.1", [1])
    index.settled("1", "1.1", index.series_revision("1", "1.1"), 1.0)
    seen = []

    def made(events):
        bodies = [orjson.loads(event.body) for event in events]
        seen.extend(body["series"] for body in bodies)
        return [a_job(body["series"]) for body in bodies]

    assert index.jobs.feed("forward", ["series-settled"], made) == 0, "that was before"
    for series in ("1.2", "1.3"):
        stored(index, "1", series, [1])
        index.settled("1", series, index.series_revision("1", series), 2.0)
    assert index.jobs.feed("forward", ["series-settled"], made) == 2
    assert index.jobs.feed("forward", ["series-settled"], made) == 0
    assert seen == ["1.2", "1.3"]
    assert [job.subject for job in index.jobs.jobs()] == ["1.3", "1.2"]


def test_events_whose_jobs_could_not_be_made_come_again(index):
    index.jobs.feed("forward", ["series-settled"], lambda events: [])
    stored(index, "1", "1.1", [1])
    index.settled("1", "1.1", index.series_revision("1", "1.1"), 1.0)

    def broken(events):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        index.jobs.feed("forward", ["series-settled"], broken)
    made = index.jobs.feed("forward", ["series-settled"], lambda events: [a_job()])
    assert (made, len(index.jobs.jobs())) == (1, 1)


def test_a_feed_that_was_ended_begins_anew(index):
    index.jobs.feed("forward", ["series-settled"], lambda events: [])
    index.jobs.forget_feeds(60.0)
    assert index.jobs.feed("forward", ["series-settled"], lambda events: []) == 0
    index.jobs.forget_feeds(-1.0)
    stored(index, "1", "1.1", [1])
    index.settled("1", "1.1", index.series_revision("1", "1.1"), 1.0)
    assert index.jobs.feed("forward", ["series-settled"], lambda events: [a_job()]) == 0


# -- leases and nodes ------------------------------------------------------------------------------
def test_a_lease_has_one_holder_until_it_runs_out_or_is_given_back(index):
    cluster = index.cluster
    assert cluster.hold("scrub", "one", 60.0)
    assert cluster.hold("scrub", "one", 60.0), "renewed"
    assert not cluster.hold("scrub", "two", 60.0)
    cluster.give_back("scrub", "two")
    assert not cluster.hold("scrub", "two", 60.0), "it was not theirs to give back"
    cluster.give_back("scrub", "one")
    assert cluster.hold("scrub", "two", -1.0)
    assert cluster.hold("scrub", "one", 60.0), "the other's has run out"


def test_nodes_are_seen_until_they_leave(index):
    index.cluster.here("one", "1.0")
    index.cluster.here("two", "1.1")
    index.cluster.here("one", "1.0")
    one, two = index.cluster.nodes()
    assert (one.name, one.version, two.name) == ("one", "1.0", "two")
    assert 0 <= one.silent_seconds < 5
    index.cluster.left("two")
    assert [node.name for node in index.cluster.nodes()] == ["one"]
