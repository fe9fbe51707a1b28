"""`filmroom compress`: store smaller what is held, and give back what came; beside the server."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filmroom.cli.common import AsJson, ConfigFile, DataFolder, fail, index_of, put, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filmroom.archive.shrinking import Candidate, Rule
    from filmroom.archive.stores import Blobs, Clock, Index
    from filmroom.config import Settings

BLOCK = 1000
MIB = 1048576


def compress(
    study: Annotated[
        str, typer.Argument(help="Study Instance UID; without one, what `compress.rules` want.")
    ] = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Put the study back as it came, byte for byte.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Change nothing; try a sample: what would it save?"),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="What is stored smaller now, and what that saves.")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="Instances that a dry run tries.")] = 50,
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Have the server store instances smaller without loss, or put them back; prints the job's id.

    Each is made again from its new file and compared with the digest of what came before the old
    file goes. The job is in `filmroom jobs list`.
    """
    from filmroom.archive.errors import Unintelligible
    from filmroom.archive.shrinking import compress_job

    if undo and (dry_run or not study):
        raise typer.BadParameter("--undo is for one study, and without --dry-run")
    settings = settings_from(config, data).settings
    with index_of(settings) as index:
        if status:
            _tell_savings(index, as_json)
        elif dry_run:
            _tell_estimate(settings, index, study, sample, as_json)
        else:
            if not study and not settings.compress.rules:
                raise fail("there are no rules: name a study, or set [[compress.rules]]")
            try:
                job = compress_job(study, undo=undo)
            except Unintelligible as error:
                raise fail(error.message) from None
            (id_,) = index.jobs.put([job])
            typer.echo(id_)


def _tell_savings(index: Index, as_json: bool) -> None:
    found = index.smaller.savings()
    if as_json:
        put(found.as_dict())
        return
    before, after = found.bytes_before, found.bytes_after
    typer.echo(
        f"{found.instances:,} instances stored smaller: {before / MIB:,.1f} MiB came, "
        f"{after / MIB:,.1f} MiB are stored{_ratio(before, after)}"
    )
    for reason, count in found.left_alone.items():
        typer.echo(f"{count:,} left alone: {reason}")
    if found.spare_files:
        typer.echo(f"{found.spare_files:,} old files are still there for those who read them")


@dataclass(slots=True)
class _Estimate:
    """What a dry run has seen."""

    instances: int = 0  # that fit
    size_bytes: int = 0
    tried: int = 0
    bytes_before: int = 0  # of those tried that would be stored smaller
    bytes_after: int = 0
    bytes_left_alone: int = 0
    left_alone: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        tried = self.bytes_before + self.bytes_left_alone
        saved = self.bytes_before - self.bytes_after
        return {
            "instances": self.instances,
            "size_bytes": self.size_bytes,
            "tried": self.tried,
            "tried_bytes_before": self.bytes_before,
            "tried_bytes_after": self.bytes_after,
            "left_alone": self.left_alone,
            "estimated_bytes_saved": round(self.size_bytes * saved / tried) if tried else 0,
        }


def _tell_estimate(
    settings: Settings, index: Index, study: str, sample: int, as_json: bool
) -> None:
    from filmroom.asgi.app import SystemClock
    from filmroom.blobs.opening import open_blobs

    rules = settings.compress.terms.rules or (settings.compress.terms.by_hand,)
    blobs = open_blobs(settings.blobs, settings.blobs_folder, min_free_bytes=0)
    try:
        found = asyncio.run(_estimate(index, blobs, SystemClock(), study, rules, sample))
    finally:
        blobs.close()
    told = found.as_dict()
    if as_json:
        put(told)
        return
    typer.echo(
        f"{found.instances:,} instances of {found.size_bytes / MIB:,.1f} MiB would be tried; "
        f"of {found.tried:,} in the sample {found.bytes_before / MIB:,.1f} MiB became "
        f"{found.bytes_after / MIB:,.1f}{_ratio(found.bytes_before, found.bytes_after)}"
    )
    for reason, count in found.left_alone.items():
        typer.echo(f"{count:,} of the sample would be left alone: {reason}")
    typer.echo(f"about {told['estimated_bytes_saved'] / MIB:,.1f} MiB would be saved")


async def _estimate(
    index: Index,
    blobs: Blobs,
    clock: Clock,
    study: str,
    rules: tuple[Rule, ...],
    sample: int,
) -> _Estimate:
    from filmroom.archive.smaller import LeftAlone, Shrinker
    from filmroom.pixel.lowly import transcode_lowly
    from filmroom.pixel.pool import Pool

    found = _Estimate()
    chosen: list[tuple[Candidate, Rule]] = []
    for candidate, rule in _wanted(index, clock.now(), study, rules):
        found.instances += 1
        found.size_bytes += candidate.handle.location.size_bytes
        if len(chosen) < sample:
            chosen.append((candidate, rule))
        elif (place := random.randrange(found.instances)) < sample:  # noqa: S311 no secret
            chosen[place] = candidate, rule
    pool = Pool(1)
    shrinker = Shrinker(blobs, pool, transcode_lowly)
    try:
        for candidate, rule in chosen:
            handle = index.instance(candidate.handle.sop_instance_uid)
            if handle is None or handle.damage:
                continue
            found.tried += 1
            size = handle.location.size_bytes
            try:
                made = await shrinker.smaller(handle, rule.transfer_syntax_uid, rule.least_gain)
            except LeftAlone as error:
                found.left_alone[str(error)] = found.left_alone.get(str(error), 0) + 1
                found.bytes_left_alone += size
                continue
            made.staged.discard()
            found.bytes_before += size
            found.bytes_after += made.location.size_bytes
    finally:
        pool.close()
    return found


def _wanted(
    index: Index, now: float, study: str, rules: tuple[Rule, ...]
) -> Iterator[tuple[Candidate, Rule]]:
    """What would be stored smaller, each with the first rule that fits (but for `source`)."""
    after_id = 0
    while True:
        if study:
            block = index.smaller.candidates_in(study, after_id, BLOCK)
        else:
            block = index.smaller.candidates(after_id, BLOCK)
        if not block:
            return
        after_id = block[-1].id
        for candidate in block:
            for rule in rules:
                if rule.is_old_enough(candidate, now) and rule.wants(candidate):
                    yield candidate, rule
                    break


def _ratio(before: int, after: int) -> str:
    return f" ({before / after:.2f} : 1)" if after else ""
