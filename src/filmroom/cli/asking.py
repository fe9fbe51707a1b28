"""The requests behind the tools, on associations of their own: whom to ask, echo, find.

Functions here take plain values and return plain values; typing and printing are for
tools.py. Progress bars are drawn on standard error when that is a terminal.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from filmroom.dicom import jsonelements, uids
from filmroom.dicom.elements import charsets_of, read_data_set
from filmroom.dicom.errors import Malformed
from filmroom.dicom.models import Root
from filmroom.dimse.client import ClientAssociation, associate
from filmroom.dimse.errors import AssociationRejected, ConnectFailed, DimseError, NoAnswer
from filmroom.dimse.messages import CFindRequest, is_pending
from filmroom.services import outcomes

FIND = {Root.PATIENT: uids.PATIENT_ROOT_FIND, Root.STUDY: uids.STUDY_ROOT_FIND}
IMPLICIT = [uids.IMPLICIT_VR_LE]  # the one every peer must take  PS3.5 10.1
MOST_PROBLEMS = 20  # told in full; there may be thousands of the same


REJECTED = {  # (source, reason) of a rejection -> what to do  PS3.8 9.3.4
    (1, 3): "; the peer must be told of it, or give another with --calling",
    (1, 7): "; give the right one with --called",
}


class Trouble(Exception):
    """A request ended without what was asked for; the message says what to do."""


class NoAssociation(Trouble):
    """The peer could not be reached, or would not associate."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to ask, and under which names."""

    host: str
    port: int
    called: str
    calling: str
    timeout: float  # seconds, for each answer
    tls: bool = False

    async def associate(
        self, contexts: Sequence[tuple[str, list[str]]], **more: Any
    ) -> ClientAssociation:
        """Open an association; Trouble says what is wrong and what to do about it."""
        try:
            return await associate(
                self.host,
                self.port,
                calling=self.calling,
                called=self.called,
                contexts=contexts,
                connect_timeout=min(self.timeout, 10.0),
                timeout=self.timeout,
                ssl=ssl.create_default_context() if self.tls else None,
                **more,
            )
        except DimseError as error:
            raise NoAssociation(self._advice(error)) from error

    def _advice(self, error: DimseError) -> str:
        at, cause = f"{self.host}:{self.port}", error.__cause__
        if isinstance(cause, ConnectionRefusedError):
            return f"connection refused at {at}: is the peer listening there? Check host and port"
        if isinstance(cause, socket.gaierror):
            return f"host {self.host!r} is unknown: check the name, or give the address"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {at} is not trusted: {cause.verify_message}"
        if isinstance(error, ConnectFailed):
            return f"{error}: is there a firewall, or is the peer down?"
        if isinstance(error, NoAnswer):
            return f"{error}: is that a DICOM port, and does it speak TLS or not as we do?"
        if isinstance(error, AssociationRejected):
            return f"{error}{REJECTED.get((error.source, error.reason), '')}"
        return str(error)


@dataclass(frozen=True, slots=True)
class EchoAnswer:
    """How long each C-ECHO took, and what the peer calls itself."""

    milliseconds: list[float]
    implementation: str


@dataclass(slots=True)
class Report:
    """What came of a transfer, in instances."""

    done: int = 0
    warnings: int = 0  # of those done
    failed: int = 0
    remaining: int = 0
    skipped: int = 0  # files that are no instances
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    is_success: bool = True

    def problem(self, text: str) -> None:
        """Note what went wrong with one instance, or with all."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)
        elif len(self.problems) == MOST_PROBLEMS:
            self.problems.append("... and more of the kind")


async def echo(peer: Peer, count: int) -> EchoAnswer:
    """C-ECHO, `count` times on one association."""
    association = await peer.associate([(uids.VERIFICATION, IMPLICIT)])
    milliseconds = []
    try:
        for _ in range(count):
            begun = time.perf_counter()
            status = await association.echo()
            if status != outcomes.SUCCESS:
                raise Trouble(f"{peer.called} answered C-ECHO with status {status:04X}")
            milliseconds.append((time.perf_counter() - begun) * 1000)
        await association.release()
    finally:
        association.abort()
    return EchoAnswer(milliseconds, association.info.implementation_version)


def progress_bar() -> Progress:
    """A bar on standard error; silent unless that is a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


async def find(peer: Peer, root: Root, identifier: bytes, limit: int = 0) -> list[dict[str, Any]]:
    """C-FIND; the answers as DICOM JSON objects. After `limit` of them it is cancelled."""
    association = await peer.associate([(FIND[root], IMPLICIT)])
    found: list[dict[str, Any]] = []
    request = CFindRequest(0, FIND[root])
    try:
        answers = association.responses(FIND[root], request, identifier)
        async with aclosing(answers) as responses:
            async for response, answer in responses:
                if is_pending(response.status):
                    found.append(_as_json(answer or b""))
                    if len(found) == limit:
                        break
                elif response.status not in (outcomes.SUCCESS, outcomes.CANCELLED):
                    raise Trouble(f"{peer.called} answered C-FIND with {told(response, 'C-FIND')}")
        await association.release()
    finally:
        association.abort()
    return found


def _as_json(answer: bytes) -> dict[str, Any]:
    try:
        ds = read_data_set(answer, explicit_vr=False, little_endian=True)
    except Malformed as error:
        raise Trouble(f"an answer of the peer cannot be read: {error}") from None
    return jsonelements.from_elements(ds, charsets_of(ds))


def told(response: Any, service: str) -> str:
    """A status, what it means, and the peer's comment, where there are such."""
    known = outcomes.MEANINGS.get(service, {}).get(response.status, "")
    meaning = f": {known.rstrip('.')}" if known else ""
    comment = f" ({response.error_comment})" if response.error_comment else ""
    return f"status {response.status:04X}{meaning}{comment}"
