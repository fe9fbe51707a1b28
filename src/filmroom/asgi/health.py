"""/livez, /readyz, /metrics: for load balancers and monitoring, open to all, without data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from filmroom import observe
from filmroom.archive.errors import ArchiveError

if TYPE_CHECKING:
    from filmroom.archive.archive import Archive

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
Ready = Callable[[], str]  # "" when ready, else why not


class Held(Collector):
    """What the archive holds, asked when somebody looks."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def collect(self) -> Iterable[Metric]:
        """The archive's statistics; nothing while the index is away."""
        try:
            held = self._archive.index.statistics()
            free = self._archive.blobs.free_bytes()
        except ArchiveError as error:
            log.warning("statistics are not to be had", extra={"detail": error.detail})
            return
        for name, text, value in (
            ("patients", "Patients held.", held.patients),
            ("studies", "Studies held.", held.studies),
            ("series", "Series held.", held.series),
            ("instances", "Instances held.", held.instances),
            ("size_bytes", "Bytes of all instances.", held.size_bytes),
            ("quarantined", "Objects in quarantine.", held.quarantined),
            ("damaged", "Instances whose file is damaged.", held.damaged),
            ("free_bytes", "Free bytes where the files are.", free),
        ):
            yield GaugeMetricFamily(f"filmroom_archive_{name}", text, value)


def routes(archive: Archive, ready: Ready) -> list[BaseRoute]:
    """The three routes."""
    held = Held(archive)

    async def livez(request: Request) -> Response:
        """The process answers."""
        return _line(200, "alive")

    async def readyz(request: Request) -> Response:
        """The node can work: it is neither starting nor stopping, and the index answers."""
        if why_not := ready():
            return _line(503, why_not)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.to_thread(archive.index.ping)
        except (ArchiveError, TimeoutError):
            return _line(503, "the index does not answer")
        return _line(200, "ready")

    async def metrics(request: Request) -> Response:
        """Counters and histograms in Prometheus' text format."""
        body = await asyncio.to_thread(observe.metrics, held)
        return Response(body, headers={"Content-Type": observe.METRICS_TYPE})

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def _line(status: int, text: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(f"{text}\n", status, headers, "text/plain; charset=utf-8")
