"""`filmroom jobs …`: what is being done by and by; also while a server runs."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from filmroom.cli.common import AsJson, ConfigFile, DataFolder, fail, index_of, put, settings_from

if TYPE_CHECKING:
    from filmroom.archive.jobs import Job

jobs = typer.Typer(no_args_is_help=True, help="Jobs: list, send, cancel, have tried again.")

Id = Annotated[int, typer.Argument(help="Of the job, as `filmroom jobs list` shows it.")]


@jobs.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help="waiting, running, done, failed or cancelled; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The newest jobs: what they are, how far they are, and why they are not done."""
    from filmroom.archive.jobs import State, job_as_dict

    try:
        states = [State(word) for word in state or ()] or list(State)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with index_of(settings_from(config, data).settings) as index:
        found = index.jobs.jobs(states, 0, limit)
    if as_json:
        put([job_as_dict(job) for job in found])
        return
    for job in found:
        typer.echo(_line(job))


@jobs.command("lanes")
def list_lanes(config: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Where jobs wait: how many for each destination, and which one rests after failures."""
    with index_of(settings_from(config, data).settings) as index:
        found = index.jobs.lanes()
    if as_json:
        put([asdict(lane) for lane in found])
        return
    for lane in found:
        rests = f"\trests {max(lane.rests_until - time.time(), 0):.0f} s" * bool(lane.rests_until)
        typer.echo(f"{lane.name}\t{lane.waiting} wait\t{lane.running} running{rests}")


@jobs.command("show")
def show_job(id: Id, config: ConfigFile = None, data: DataFolder = None) -> None:
    """All that is known of a job, as JSON."""
    from filmroom.archive.jobs import job_as_dict

    with index_of(settings_from(config, data).settings) as index:
        job = index.jobs.job(id)
    if job is None:
        raise fail(f"there is no job {id}")
    put(job_as_dict(job))


@jobs.command("send")
def send(
    peer: Annotated[str, typer.Argument(help="AE title of a configured peer.")],
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    series: Annotated[str, typer.Argument(help="Series Instance UID, where one is meant.")] = "",
    instance: Annotated[str, typer.Argument(help="SOP Instance UID, where one is meant.")] = "",
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """Have the server send a study, series or instance, as often as it takes; prints the job's id.

    `filmroom send` is for files; this is for what the archive holds.
    """
    from filmroom.archive.jobs import send_job
    from filmroom.archive.peers import PeerBook

    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        book = PeerBook(index, settings.peer_records)
        book.refresh()
        if peer not in {each.ae_title for each in book.peers()}:
            raise fail(f"no peer {peer} is known: `filmroom peer add`, or [[peers]]")
        (id_,) = index.jobs.put([send_job(peer, study, series, instance)])
    typer.echo(id_)


@jobs.command("cancel")
def cancel(id: Id, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Do not do it, or no more of it."""
    with index_of(settings_from(config, data).settings) as index:
        if not index.jobs.cancel(id, "cancelled by hand"):
            raise fail(f"there is no job {id} that could be cancelled")
    typer.echo(f"job {id} is cancelled")


@jobs.command("retry")
def retry(id: Id, config: ConfigFile = None, data: DataFolder = None) -> None:
    """Have a job that waits, failed or was cancelled tried at once."""
    with index_of(settings_from(config, data).settings) as index:
        if not index.jobs.retry(id):
            raise fail(f"there is no job {id} that could be tried again")
    typer.echo(f"job {id} will be tried")


def _line(job: Job) -> str:
    changed = datetime.fromtimestamp(job.changed_at).strftime("%Y-%m-%d %H:%M:%S")
    progress = job.progress
    far = f"{progress.get('sent', 0)}/{progress['total']}" if "total" in progress else ""
    if "looked_at" in progress:
        far = f"{progress['done'] + progress['undone']}/{progress['looked_at']}"
    told = [str(job.id), job.state.value, changed, job.kind, job.subject, far, job.reason]
    return "\t".join(told).rstrip()
