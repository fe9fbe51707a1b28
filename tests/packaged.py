"""pydicom's packaged files, and how dcmtk's tools are told to carry every kind of them."""

from __future__ import annotations

import importlib.util
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import data_store
import pydicom
import pydicom.data
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_PYDICOM = Path(pydicom.data.__file__).parent
FOLDERS = (
    _PYDICOM / "test_files",
    _PYDICOM / "charset_files",
    Path(data_store.__file__).parent / "data",
)


@dataclass(frozen=True)
class Packaged:
    """One file: `content` differs from the package's in its SOP Instance UID at most."""

    name: str
    content: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uids: tuple[str, ...]


def packaged_files() -> Iterator[Packaged]:
    """Every file of the packages, DICOM or not.

    Many share a SOP Instance UID, being one image in several encodings. Each but the first
    gets one of its own, of the same length, so that not another byte changes.
    """
    seen: Counter[str] = Counter()
    for path in sorted(p for folder in FOLDERS for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        sop_class, instance, syntaxes = _identity(path)
        if instance:
            seen[instance] += 1
        if seen[instance] > 1:
            another = _another(instance, seen)
            content = content.replace(instance.encode(), another.encode())
            instance = another
        yield Packaged(path.name, content, sop_class, instance, syntaxes)


def _identity(path: Path) -> tuple[str, str, tuple[str, ...]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            uids = str(ds.get("SOPClassUID", "")), str(ds.get("SOPInstanceUID", ""))
        except Exception:  # noqa: BLE001  whatever pydicom says of files that are none
            return "", "", ()
        syntax = ds.file_meta.get("TransferSyntaxUID")
    return *uids, (str(syntax),) if syntax else NATIVE


def _another(uid: str, seen: Counter[str]) -> str:
    for number in range(10, 100):
        another = f"{uid[:-2]}{number}"
        if another not in seen:
            seen[another] = 1
            return another
    raise AssertionError("more copies than numbers")


def storescu_profile(kinds: Iterable[tuple[str, str]]) -> str:
    """A configuration file whose profile ALL proposes each (SOP class, syntax) by itself."""
    proposed = sorted(set(kinds))
    syntaxes = sorted({syntax for _, syntax in proposed})
    lines = ["[[TransferSyntaxes]]"]
    for number, syntax in enumerate(syntaxes):
        lines += [f"[Syntax{number}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[ALL]"]
    lines += [
        f"PresentationContext{number} = {sop_class}\\Syntax{syntaxes.index(syntax)}"
        for number, (sop_class, syntax) in enumerate(proposed, 1)
    ]
    lines += ["[[Profiles]]", "[ALL]", "PresentationContexts = ALL", ""]
    return "\n".join(lines)


def corpus():
    """bench/corpus.py, which makes images as full of attributes as those of real scanners."""
    path = Path(__file__).parent.parent / "bench" / "corpus.py"
    spec = importlib.util.spec_from_file_location("corpus", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
