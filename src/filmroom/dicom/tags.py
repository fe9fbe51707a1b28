"""The attributes filmroom itself speaks of: keyword, tag, VR, level, and how they are kept.

INDEXED attributes have a column in the index and can be matched. KEPT attributes are
stored as DICOM JSON with their level's row and can be returned without opening a file.
Everything else is read from the instance when somebody asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from filmroom.dicom.models import Level


@dataclass(frozen=True, slots=True)
class Attribute:
    """One data element of PS3.6 and the level it describes (PS3.4 C.6.1.1)."""

    keyword: str
    tag: int  # group << 16 | element
    vr: str
    level: Level
    indexed: bool = False

    @property
    def hex(self) -> str:
        """The tag as DICOM JSON writes it (PS3.18 F.2.2), e.g. 00100020."""
        return f"{self.tag:08X}"


P, S, E, I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE  # noqa: E741

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("PatientName", 0x00100010, "PN", P, indexed=True),
    Attribute("PatientID", 0x00100020, "LO", P, indexed=True),
    Attribute("IssuerOfPatientID", 0x00100021, "LO", P, indexed=True),
    Attribute("PatientBirthDate", 0x00100030, "DA", P, indexed=True),
    Attribute("PatientBirthTime", 0x00100032, "TM", P),
    Attribute("PatientSex", 0x00100040, "CS", P, indexed=True),
    Attribute("OtherPatientIDs", 0x00101000, "LO", P),
    Attribute("OtherPatientNames", 0x00101001, "PN", P),
    Attribute("OtherPatientIDsSequence", 0x00101002, "SQ", P),
    Attribute("IssuerOfPatientIDQualifiersSequence", 0x00100024, "SQ", P),
    Attribute("EthnicGroup", 0x00102160, "SH", P),
    Attribute("PatientComments", 0x00104000, "LT", P),
    Attribute("PatientSpeciesDescription", 0x00102201, "LO", P),
    Attribute("StudyInstanceUID", 0x0020000D, "UI", S, indexed=True),
    Attribute("StudyDate", 0x00080020, "DA", S, indexed=True),
    Attribute("StudyTime", 0x00080030, "TM", S, indexed=True),
    Attribute("AccessionNumber", 0x00080050, "SH", S, indexed=True),
    Attribute("IssuerOfAccessionNumberSequence", 0x00080051, "SQ", S),
    Attribute("StudyID", 0x00200010, "SH", S, indexed=True),
    Attribute("StudyDescription", 0x00081030, "LO", S, indexed=True),
    Attribute("ReferringPhysicianName", 0x00080090, "PN", S, indexed=True),
    Attribute("InstitutionName", 0x00080080, "LO", E, indexed=True),
    Attribute("InstitutionalDepartmentName", 0x00081040, "LO", E),
    Attribute("ProcedureCodeSequence", 0x00081032, "SQ", S),
    Attribute("PhysiciansOfRecord", 0x00081048, "PN", S),
    Attribute("NameOfPhysiciansReadingStudy", 0x00081060, "PN", S),
    Attribute("AdmittingDiagnosesDescription", 0x00081080, "LO", S),
    Attribute("ReferencedStudySequence", 0x00081110, "SQ", S),
    Attribute("PatientAge", 0x00101010, "AS", S),
    Attribute("PatientSize", 0x00101020, "DS", S),
    Attribute("PatientWeight", 0x00101030, "DS", S),
    Attribute("Occupation", 0x00102180, "SH", S),
    Attribute("AdditionalPatientHistory", 0x001021B0, "LT", S),
    Attribute("RequestingPhysician", 0x00321032, "PN", S),
    Attribute("RequestingService", 0x00321033, "LO", S),
    Attribute("RequestedProcedureDescription", 0x00321060, "LO", S),
    Attribute("RequestedProcedureCodeSequence", 0x00321064, "SQ", S),
    Attribute("CurrentPatientLocation", 0x00380300, "LO", S),
    Attribute("AdmissionID", 0x00380010, "LO", S),
    Attribute("TimezoneOffsetFromUTC", 0x00080201, "SH", S),
    Attribute("SeriesInstanceUID", 0x0020000E, "UI", E, indexed=True),
    Attribute("Modality", 0x00080060, "CS", E, indexed=True),
    Attribute("SeriesNumber", 0x00200011, "IS", E, indexed=True),
    Attribute("SeriesDescription", 0x0008103E, "LO", E, indexed=True),
    Attribute("SeriesDate", 0x00080021, "DA", E, indexed=True),
    Attribute("SeriesTime", 0x00080031, "TM", E, indexed=True),
    Attribute("BodyPartExamined", 0x00180015, "CS", E, indexed=True),
    Attribute("Laterality", 0x00200060, "CS", E),
    Attribute("PatientPosition", 0x00185100, "CS", E),
    Attribute("ProtocolName", 0x00181030, "LO", E),
    Attribute("OperatorsName", 0x00081070, "PN", E),
    Attribute("PerformingPhysicianName", 0x00081050, "PN", E, indexed=True),
    Attribute("Manufacturer", 0x00080070, "LO", E),
    Attribute("ManufacturerModelName", 0x00081090, "LO", E),
    Attribute("StationName", 0x00081010, "SH", E, indexed=True),
    Attribute("FrameOfReferenceUID", 0x00200052, "UI", E),
    Attribute("PerformedProcedureStepStartDate", 0x00400244, "DA", E, indexed=True),
    Attribute("PerformedProcedureStepStartTime", 0x00400245, "TM", E, indexed=True),
    Attribute("PerformedProcedureStepID", 0x00400253, "SH", E),
    Attribute("PerformedProcedureStepDescription", 0x00400254, "LO", E),
    Attribute("ReferencedPerformedProcedureStepSequence", 0x00081111, "SQ", E),
    Attribute("RequestAttributesSequence", 0x00400275, "SQ", E),
    Attribute("SOPInstanceUID", 0x00080018, "UI", I, indexed=True),
    Attribute("SOPClassUID", 0x00080016, "UI", I, indexed=True),
    Attribute("InstanceNumber", 0x00200013, "IS", I, indexed=True),
    Attribute("ContentDate", 0x00080023, "DA", I, indexed=True),
    Attribute("ContentTime", 0x00080033, "TM", I, indexed=True),
    Attribute("AcquisitionNumber", 0x00200012, "IS", I),
    Attribute("ImageType", 0x00080008, "CS", I),
    Attribute("Rows", 0x00280010, "US", I),
    Attribute("Columns", 0x00280011, "US", I),
    Attribute("BitsAllocated", 0x00280100, "US", I),
    Attribute("NumberOfFrames", 0x00280008, "IS", I),
    Attribute("ConceptNameCodeSequence", 0x0040A043, "SQ", I),
    Attribute("CompletionFlag", 0x0040A491, "CS", I),
    Attribute("VerificationFlag", 0x0040A493, "CS", I),
    Attribute("DocumentTitle", 0x00420010, "ST", I),
    Attribute("ContentLabel", 0x00700080, "CS", I),
    Attribute("ContentDescription", 0x00700081, "LO", I),
)

BY_KEYWORD = {attribute.keyword: attribute for attribute in ATTRIBUTES}
BY_TAG = {attribute.tag: attribute for attribute in ATTRIBUTES}
INDEXED = {level: tuple(a for a in ATTRIBUTES if a.level is level and a.indexed) for level in Level}

# Needed at ingest beside ATTRIBUTES: how the text is encoded, and how the pixels lie.
SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_ATTRIBUTES = {
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "PlanarConfiguration": 0x00280006,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "ExtendedOffsetTable": 0x7FE00001,
    "ExtendedOffsetTableLengths": 0x7FE00002,
}

# Made by the index, not stored in any instance (PS3.4 C.3.4, PS3.18 10.6.3).
COMPUTED: dict[str, tuple[int, str, Level]] = {
    "ModalitiesInStudy": (0x00080061, "CS", S),
    "SOPClassesInStudy": (0x00080062, "UI", S),
    "NumberOfPatientRelatedStudies": (0x00201200, "IS", P),
    "NumberOfPatientRelatedSeries": (0x00201202, "IS", P),
    "NumberOfPatientRelatedInstances": (0x00201204, "IS", P),
    "NumberOfStudyRelatedSeries": (0x00201206, "IS", S),
    "NumberOfStudyRelatedInstances": (0x00201208, "IS", S),
    "NumberOfSeriesRelatedInstances": (0x00201209, "IS", E),
    "AvailableTransferSyntaxUID": (0x00083002, "UI", I),
}
