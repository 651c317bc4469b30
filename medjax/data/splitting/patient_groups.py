"""Groups of DICOM images by the patient, or by the study where the patient is not told."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.dicom.subject import ABSENT, Subject, as_subject
from medjax.records import Names

PATIENT, STUDY = "PatientID", "StudyInstanceUID"


def patient_groups(
    subjects: Mapping[int, bytes], ids: Sequence[str], files: Sequence[str]
) -> tuple[Names | None, str | None]:
    """The group of each image, and the tag that it is by, None where neither tag tells images apart.

    `subjects` are digests of both tags, by position, of those images that are DICOM files; `files` names the file of each
    image, which several frames share. The groups are those of PatientID, if it has two values or more, and of
    StudyInstanceUID where it is absent or the same for all; frames of a file with neither are a group of their own. A group
    is named after its first image. No groups are None.
    """
    found = {position: as_subject(digests) for position, digests in subjects.items()}
    tag = next((tag for tag in (PATIENT, STUDY) if len(_values(found, tag)) > 1), None)
    if tag is None and len({*files}) == len(files):
        return None, None
    first: dict[bytes, str] = {}
    names = [
        first.setdefault(_group_of(found.get(position), tag, file), id)
        for position, (id, file) in enumerate(zip(ids, files, strict=True))
    ]
    return np.array(names), tag


def _values(found: Mapping[int, Subject], tag: str) -> set[bytes]:
    return {_value(subject, tag) for subject in found.values()} - {ABSENT}


def _value(subject: Subject, tag: str) -> bytes:
    return subject.patient if tag == PATIENT else subject.study


def _group_of(subject: Subject | None, tag: str | None, file: str) -> bytes:
    """What images of one group have in common."""
    if subject is not None and tag is not None:
        for kind in (tag, STUDY):
            if (value := _value(subject, kind)) != ABSENT:
                return kind.encode() + value
    return b"file" + file.encode("utf-8", "surrogatepass")
