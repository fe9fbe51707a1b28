"""Counters, timings and log lines: how we learn what the node is doing.

Metrics are module-level and cheap; everybody may raise them. Log lines carry fields by
name (`log.warning("c-store refused", extra={...})`), and only the names in FIELDS are
written: attributes of patients cannot slip in by accident. Control characters and text
direction marks are escaped, so that a hostile name cannot forge a line or a colour.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from contextvars import ContextVar
from typing import TextIO

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call] # they double the page, say nothing
REGISTRY = CollectorRegistry(auto_describe=True)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SMALL = (1, 2, 4, 8, 16, 32, 64, 128, 256)

HTTP_SECONDS = Histogram(
    "filmroom_http_request_seconds",
    "HTTP requests, from the head of the request to the end of the answer.",
    ("method", "route", "status"),
    buckets=_FAST,
    registry=REGISTRY,
)
HTTP_SENT_BYTES = Counter(
    "filmroom_http_sent_bytes", "Bytes of HTTP bodies sent.", registry=REGISTRY
)
SIGN_INS = Counter("filmroom_sign_ins", "Attempts to sign in.", ("outcome",), registry=REGISTRY)
DIMSE_SECONDS = Histogram(
    "filmroom_dimse_operation_seconds",
    "DIMSE operations we performed, from the command to the last response.",
    ("operation", "status"),
    buckets=_FAST,
    registry=REGISTRY,
)
ASSOCIATIONS = Gauge("filmroom_dimse_associations", "Associations open now.", registry=REGISTRY)
ASSOCIATIONS_REFUSED = Counter(
    "filmroom_dimse_associations_refused", "Associations rejected.", ("reason",), registry=REGISTRY
)
STORE_SECONDS = Histogram(
    "filmroom_store_seconds",
    "From an object's being whole to its being durable.",
    ("origin",),
    buckets=_FAST,
    registry=REGISTRY,
)
STORED = Counter(
    "filmroom_stores",
    "Objects offered, by how that ended.",
    ("origin", "outcome"),
    registry=REGISTRY,
)
STORED_BYTES = Counter(
    "filmroom_stored_bytes", "Bytes of objects made durable.", ("origin",), registry=REGISTRY
)
BATCH_SECONDS = Histogram(
    "filmroom_ingest_batch_seconds",
    "One batch of the committer.",
    buckets=_FAST,
    registry=REGISTRY,
)
BATCH_INSTANCES = Histogram(
    "filmroom_ingest_batch_instances", "Objects per batch.", buckets=_SMALL, registry=REGISTRY
)
QUEUE_LENGTH = Gauge(
    "filmroom_ingest_queue_length", "Objects that wait for the committer.", registry=REGISTRY
)
JOBS = Gauge("filmroom_jobs", "Jobs that are remembered.", ("state",), registry=REGISTRY)
COMPRESSED = Counter(
    "filmroom_compressed_instances", "Instances stored smaller than they came.", registry=REGISTRY
)
COMPRESS_BYTES = Counter(
    "filmroom_compressed_bytes", "Bytes of these, before and after.", ("when",), registry=REGISTRY
)
COMPRESS_LEFT_ALONE = Counter(
    "filmroom_compress_left_alone",
    "Instances that were not stored smaller.",
    ("reason",),
    registry=REGISTRY,
)
PIXEL_SECONDS = Histogram(
    "filmroom_pixel_job_seconds",
    "Jobs of the pixel workers.",
    ("job",),
    buckets=_FAST,
    registry=REGISTRY,
)
SCRUB_FILES = Counter(
    "filmroom_scrub_files", "Stored files read again and compared.", registry=REGISTRY
)
SCRUB_BYTES = Counter("filmroom_scrub_bytes", "Bytes of these.", registry=REGISTRY)
SCRUB_DAMAGED = Counter(
    "filmroom_scrub_damaged", "Files found damaged.", ("reason",), registry=REGISTRY
)
SCRUB_REPAIRED = Counter(
    "filmroom_scrub_repaired", "Files made anew from the second copy.", registry=REGISTRY
)
SCRUB_SUSPECTED = Counter(
    "filmroom_scrub_suspected", "Files that somebody could not read.", registry=REGISTRY
)
SCRUB_STRAYS = Gauge(
    "filmroom_scrub_strays",
    "Files and rows without partner, found by the last pass.",
    ("kind",),
    registry=REGISTRY,
)
SCRUB_FINISHED = Gauge(
    "filmroom_scrub_finished_timestamp_seconds",
    "When the last pass ended; 0 while one is under way.",
    registry=REGISTRY,
)
SCRUB_PROGRESS = Gauge(
    "filmroom_scrub_progress_ratio", "How much of the pass is done.", registry=REGISTRY
)

ProcessCollector(namespace="filmroom", registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


def metrics(*more: Collector) -> bytes:
    """Everything counted so far, in Prometheus' text format; `more` are asked just once."""
    parts = [generate_latest(REGISTRY)]
    for collector in more:
        passing = CollectorRegistry()
        passing.register(collector)
        parts.append(generate_latest(passing))
    return b"".join(parts)


request_id: ContextVar[str] = ContextVar("request_id", default="")

FIELDS = (
    "request_id", "method", "route", "status", "seconds", "bytes", "principal", "address",
    "calling_ae_title", "called_ae_title", "association", "operation", "reason", "outcome",
    "sop_class_uid", "sop_instance_uid", "series_instance_uid", "study_instance_uid",
    "transfer_syntax_uid", "origin", "detail", "count", "version", "host", "port", "path",
    "files", "orphans", "added", "removed", "stored", "key", "damaged", "job", "kind",
)  # fmt: skip
_LONGEST = 2000  # characters of one value in a log line

# C0 and C1 controls, line and paragraph separators, direction marks and isolates, BOM.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def inert(text: str) -> str:
    """`text` with everything that could steer a terminal or forge a line escaped."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text[:_LONGEST])


def _fields(record: logging.LogRecord) -> dict[str, object]:
    found = {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
    if current := request_id.get():
        found.setdefault("request_id", current)
    return {name: value for name, value in found.items() if value not in (None, "")}


def _stack(record: logging.LogRecord) -> str:
    """Where an error happened, and its kind; its text may quote a data set, so not that."""
    if record.exc_info is None or record.exc_info[1] is None:
        return ""
    error = record.exc_info[1]
    frames = [
        f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} at " + " < ".join(reversed(frames[-12:]))


def _moment(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + (
        f".{int(record.msecs):03d}Z"
    )


class JsonLines(logging.Formatter):
    """One JSON object a line, ASCII only, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "room": record.name,
            "event": inert(record.getMessage()),
        }
        for name, value in _fields(record).items():
            line[name] = inert(value) if isinstance(value, str) else value
        if stack := _stack(record):
            line["error"] = inert(stack)
        return json.dumps(line, default=lambda value: inert(str(value)))


class HumanLines(logging.Formatter):
    """Time, level, event, `name=value`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_moment(record)} {record.levelname.lower():<7} {inert(record.getMessage())}"
        parts = [f"{name}={inert(str(value))}" for name, value in _fields(record).items()]
        if stack := _stack(record):
            parts.append(f"error={inert(stack)}")
        return "  ".join([head, *parts])


def configure_logging(
    form: str = "auto", level: str = "info", stream: TextIO | None = None
) -> None:
    """Send all log lines to `stream` (stderr); form: "human", "json", or "auto" by terminal."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    human = form == "human" or (form == "auto" and stream.isatty())
    handler.setFormatter(HumanLines() if human else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(True)  # else Python prints them, in no form of ours
    root.setLevel(level.upper())
    # The HTTP server's own lines quote what clients sent; ours say the same with care.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
