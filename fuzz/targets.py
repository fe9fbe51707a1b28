"""What is fuzzed: each target's property, how long its inputs are, and what to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz import (
    accept,
    association,
    codestream,
    data_set,
    dicom_json,
    documents,
    file_meta,
    identifier,
    multipart,
    native_xml,
    qido,
    seeds,
)

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """`check` takes any bytes; whatever it raises is a finding."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    max_bytes: int
    words: tuple[bytes, ...] = ()

    def kept(self) -> list[Path]:
        """The inputs in the repository, those that were findings once among them."""
        return sorted((CORPUS / self.name).glob("*"))


TARGETS = {
    target.name: target
    for target in (
        Target("association", association.check, seeds.association, 2000, seeds.PDU_WORDS),
        Target("data_set", data_set.check, seeds.data_set, 1500, seeds.DICOM_WORDS),
        Target("file_meta", file_meta.check, seeds.file_meta, 600, seeds.DICOM_WORDS),
        Target("multipart", multipart.check, seeds.multipart, 1500, seeds.MULTIPART_WORDS),
        Target("dicom_json", dicom_json.check, seeds.dicom_json, 1500, seeds.JSON_WORDS),
        Target("native_xml", native_xml.check, seeds.native_xml, 1500, seeds.XML_WORDS),
        Target("qido", qido.check, seeds.qido, 800, seeds.QUERY_WORDS),
        Target("accept", accept.check, seeds.accept, 600, seeds.ACCEPT_WORDS),
        Target("documents", documents.check, seeds.documents, 1500, seeds.DOCUMENT_WORDS),
        Target("codestream", codestream.check, seeds.codestream, 1500, seeds.MARKERS),
        Target("identifier", identifier.check, seeds.identifier, 800, seeds.DICOM_WORDS),
    )
}
