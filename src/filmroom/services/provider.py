"""What the DIMSE server asks of filmroom: who may associate with what, and then the deeds.

Implements dimse.exchange.Provider. Rights are looked up when a peer associates: a service it
may not use is refused as a presentation context (user rejection), so that a client sees at
once what it may do. The deeds ask again and answer 0124.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from filmroom.archive.access import Action, Principal
from filmroom.archive.archive import Archive
from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.exchange import Exchange, StoreSink
from filmroom.dimse.messages import (
    CEchoRequest,
    CFindRequest,
    CGetRequest,
    CMoveRequest,
    CStoreRequest,
    Request,
    answer,
)
from filmroom.dimse.negotiation import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    CALLING_AE_TITLE_NOT_RECOGNIZED,
    Policy,
    PresentationContext,
    Reject,
    ServiceTerms,
)
from filmroom.index.where import MATCHED_SEQUENCES
from filmroom.services import outcomes, query_retrieve, storage
from filmroom.services.move import move
from filmroom.services.sender import Sending
from filmroom.services.suboperations import Transcode
from filmroom.services.table import TABLE, Service, row_for

MATCHED = {name: frozenset(sequence.items) for name, sequence in MATCHED_SEQUENCES.items()}
MOST_BYTES = 6  # of application information that mean something
STORAGE_TERMS = b"\x02\0\x03\0\0\0"  # full storage, signatures kept bit by bit  PS3.4 B.3.1.1


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be configured of the DIMSE services."""

    ae_titles: tuple[str, ...] = ("FILMROOM",)  # all answer on the one port
    accept_unknown_sop_classes: bool = True  # store what looks like a storage class
    fuzzy_names: bool = True  # agree to semantic matching of names when it is asked for
    max_operations: int = 8  # outstanding, where a peer asks for a window  PS3.7 D.3.3.3


class Provider:
    """The DIMSE services on an archive."""

    def __init__(
        self,
        archive: Archive,
        sending: Sending,
        settings: Settings | None = None,
        *,
        transcode: Transcode | None = None,
    ) -> None:
        """sending: how to reach C-MOVE destinations; its address book knows who may what.

        transcode: makes a stored data set into another transfer syntax, for receivers that
        refuse the stored one; without it such instances fail.
        """
        self._archive = archive
        self._sending = sending
        self._settings = settings or Settings()
        self._transcode = transcode
        self._ae_titles = frozenset(title.strip(" ") for title in self._settings.ae_titles)

    # -- who may associate with what -----------------------------------------------------

    def policy(self, calling: str, called: str, address: str) -> Policy | Reject:
        """What this peer may associate for; a wrong called AE title is always refused."""
        if called.strip(" ") not in self._ae_titles:
            return CALLED_AE_TITLE_NOT_RECOGNIZED
        principal = self._principal(calling, address)
        if not principal.may:
            return CALLING_AE_TITLE_NOT_RECOGNIZED
        return Policy(
            sop_classes=terms_for(
                principal.may,
                self._settings.accept_unknown_sop_classes,
                self._settings.fuzzy_names,
            ),
            max_operations=self._settings.max_operations,
        )

    def _principal(self, calling: str, address: str) -> Principal:
        return self._sending.book.principal(calling, address)

    # -- what they then do ---------------------------------------------------------------

    def open_store(
        self, request: CStoreRequest, context: PresentationContext, info: AssociationInfo
    ) -> StoreSink:
        """Where the data set of this C-STORE-RQ goes."""
        principal = self._principal(info.calling_ae_title, info.address)
        return storage.open_sink(self._archive.ingest, principal, request, context, info)

    async def handle(self, request: Request, identifier: bytes | None, exchange: Exchange) -> None:
        """Answer any other request."""
        row = TABLE.get(exchange.context.abstract_syntax)
        principal = self._principal(exchange.info.calling_ae_title, exchange.info.address)
        service = row.service if row is not None else None
        if isinstance(request, CEchoRequest):
            await exchange.respond(answer(request, outcomes.SUCCESS))
        elif isinstance(request, CFindRequest) and row and service is Service.FIND:
            await query_retrieve.find(
                request,
                identifier or b"",
                exchange,
                row=row,
                finder=self._archive.finder,
                principal=principal,
                matched_sequences=MATCHED,
            )
        elif isinstance(request, CGetRequest) and row and service is Service.GET:
            await query_retrieve.get(
                request,
                identifier or b"",
                exchange,
                row=row,
                retriever=self._archive.retriever,
                principal=principal,
                transcode=self._transcode,
            )
        elif isinstance(request, CMoveRequest) and row and service is Service.MOVE:
            await move(
                request,
                identifier or b"",
                exchange,
                row=row,
                retriever=self._archive.retriever,
                principal=principal,
                sending=self._sending,
                transcode=self._transcode,
            )
        else:
            await exchange.respond(_not_ours(request))


def _not_ours(request: Request) -> Any:
    if isinstance(request, CFindRequest | CGetRequest | CMoveRequest):
        return answer(
            request, outcomes.SOP_CLASS_NOT_SUPPORTED, "Not a service of this presentation context"
        )
    return answer(request, outcomes.UNRECOGNIZED_OPERATION)


class _Terms(Mapping[str, ServiceTerms]):
    """SOP class -> terms for a peer with certain rights; also for classes never heard of."""

    def __init__(self, may: frozenset[Action], accept_unknown: bool, fuzzy: bool) -> None:
        self._may = may
        self._accept_unknown = accept_unknown
        self._fuzzy = fuzzy

    def __getitem__(self, sop_class_uid: str) -> ServiceTerms:
        row = row_for(sop_class_uid, accept_unknown=self._accept_unknown)
        if row is None:
            raise KeyError(sop_class_uid)
        store = row.service is Service.STORAGE
        return ServiceTerms(
            row.transfer_syntaxes,
            scu=row.scp and row.action in self._may,
            scp=store and Action.RETRIEVE in self._may,  # receives C-GET sub-operations
            extended=_extended(row.service, self._fuzzy),
            allowed=row.action in self._may or (store and Action.RETRIEVE in self._may),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(TABLE)

    def __len__(self) -> int:
        return len(TABLE)


@lru_cache(maxsize=64)
def terms_for(
    may: frozenset[Action], accept_unknown: bool = True, fuzzy: bool = True
) -> Mapping[str, ServiceTerms]:
    """The terms on which a peer with these rights is served."""
    return _Terms(may, accept_unknown, fuzzy)


def _extended(service: Service, fuzzy: bool) -> Callable[[bytes], bytes] | None:
    """How application information of this service is answered, where it has any."""
    if service is Service.STORAGE:
        return lambda asked: STORAGE_TERMS[: len(asked)]
    supported = {
        Service.FIND: 3 if fuzzy else 2,  # relational, date-time, fuzzy  PS3.4 C.5.1.1
        Service.MOVE: 1,  # relational  PS3.4 C.5.2.1
        Service.GET: 1,  # relational  PS3.4 C.5.3.1
    }.get(service)
    return partial(_agree, supported) if supported else None


def _agree(supported: int, asked: bytes) -> bytes:
    """The first `supported` bytes as asked, the rest no."""
    return bytes(int(at < supported and byte == 1) for at, byte in enumerate(asked[:MOST_BYTES]))
