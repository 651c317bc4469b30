"""Groups of DICOM images by the patient, or by the study where the patient is not told."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.dicom.subject import ABSENT, Subject, as_subject
from medjax.data.private_ids import private_name
from medjax.records import Names

PATIENT, STUDY = "PatientID", "StudyInstanceUID"


def patient_groups(
    subjects: Mapping[int, bytes], ids: Sequence[str], name: str
) -> tuple[Names | None, str | None]:
    """The group of each image, and the tag that it is by; None and None where neither tag tells images apart.

    `subjects` are digests of both tags, by position, of those images that are DICOM files. The groups are those of
    PatientID, if it has two values or more, and of StudyInstanceUID where it is absent or the same for all. An image with
    neither is alone. Names of groups are hashes under the user's key. With a warning where nothing tells patients apart.
    """
    if not subjects:
        return None, None
    found = {position: as_subject(digests) for position, digests in subjects.items()}
    tag = next((tag for tag in (PATIENT, STUDY) if len(_values(found, tag)) > 1), None)
    if tag is None:
        text = f"{PATIENT} and {STUDY} are the same in all DICOM files, or absent: if they are of several patients"
        warnings.warn(
            f"{name}: {text}, give --groups FILE; else one may be on both sides of a split", stacklevel=4
        )
        return None, None
    return np.array([private_name(_group_of(found.get(n), tag, id)) for n, id in enumerate(ids)]), tag


def _values(found: Mapping[int, Subject], tag: str) -> set[bytes]:
    return {_value(subject, tag) for subject in found.values()} - {ABSENT}


def _value(subject: Subject, tag: str) -> bytes:
    return subject.patient if tag == PATIENT else subject.study


def _group_of(subject: Subject | None, tag: str, id: str) -> bytes:
    """What the name of an image's group is made of."""
    if subject is not None:
        for kind in (tag, STUDY):
            if (value := _value(subject, kind)) != ABSENT:
                return kind.encode() + value
    return b"id" + id.encode("utf-8", "surrogatepass")
