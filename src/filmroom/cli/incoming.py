"""What `filmroom get` does with what comes: instances into a folder, under names we made.

A file is written beside its final place and renamed when it is whole. Its name is the SOP
Instance UID after a check that it is nothing but digits and dots.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from filmroom.dicom import part10
from filmroom.dicom.uids import is_valid_uid
from filmroom.dimse.association import AssociationInfo
from filmroom.dimse.messages import CStoreRequest, CStoreResponse, answer
from filmroom.dimse.negotiation import PresentationContext

SUCCESS, OUT_OF_RESOURCES, IDENTIFIER_MISMATCH = 0x0000, 0xA700, 0xA900


class Folder:
    """A folder that instances are stored into; `open_store` is given to the association."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received = 0
        self.problems: list[str] = []

    def open_store(
        self, request: CStoreRequest, context: PresentationContext, info: AssociationInfo
    ) -> FileSink:
        """A sink for one instance."""
        return FileSink(self, request, context.transfer_syntax, info.called_ae_title)


class FileSink:
    """One instance on its way into a file (dimse.exchange.StoreSink)."""

    def __init__(
        self, folder: Folder, request: CStoreRequest, transfer_syntax_uid: str, source: str
    ) -> None:
        self._folder = folder
        self._request = request
        self._file: IO[bytes] | None = None
        self._status, self._comment = SUCCESS, ""
        uid = request.affected_sop_instance_uid
        if not is_valid_uid(uid) or not is_valid_uid(request.affected_sop_class_uid):
            self._fail(IDENTIFIER_MISMATCH, "Not a valid UID")
            return
        try:
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115
                dir=folder.path, prefix=".", suffix=".part", delete=False
            )
            self._file.write(
                part10.meta_header(
                    sop_class_uid=request.affected_sop_class_uid,
                    sop_instance_uid=uid,
                    transfer_syntax_uid=transfer_syntax_uid,
                    source_ae_title=source,
                )
            )
        except OSError as error:
            self._fail(OUT_OF_RESOURCES, error.strerror or "Cannot write")

    def write(self, data: memoryview) -> None:
        """Append a fragment."""
        if self._file is None:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._fail(OUT_OF_RESOURCES, error.strerror or "Cannot write")

    async def finish(self) -> CStoreResponse:
        """Give the file its name."""
        file, uid = self._file, self._request.affected_sop_instance_uid
        if file is not None:
            try:
                file.close()
                Path(file.name).replace(self._folder.path / f"{uid}.dcm")
                self._file = None
                self._folder.received += 1
            except OSError as error:
                self._fail(OUT_OF_RESOURCES, error.strerror or "Cannot write")
        response: CStoreResponse = answer(self._request, self._status, self._comment)
        return response

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
            self._file = None

    def _fail(self, status: int, comment: str) -> None:
        self.abandon()
        self._status, self._comment = status, comment
        self._folder.problems.append(f"{self._request.affected_sop_instance_uid!r}: {comment}")
