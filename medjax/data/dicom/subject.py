"""Whose image a DICOM file is of, as digests that stay in memory: names and numbers of patients are stored nowhere."""

import hashlib
from typing import Any, NamedTuple

DIGEST_BYTES = 32
ABSENT = bytes(DIGEST_BYTES)
"""In the place of the digest of a tag that is absent or says nothing."""
_NOBODY = frozenset(("", "0", "ANON", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "NONE", "UNKNOWN", "N/A"))


class Subject(NamedTuple):
    """The sha256 of two tags."""

    patient: bytes
    study: bytes


def subject_of(tags: Any) -> bytes:
    """The digests of PatientID and StudyInstanceUID, one after the other."""
    return b"".join(_digest(str(tags.get(name) or "")) for name in ("PatientID", "StudyInstanceUID"))


def as_subject(digests: bytes) -> Subject:
    """The two parts of what `subject_of` gave."""
    return Subject(digests[:DIGEST_BYTES], digests[DIGEST_BYTES:])


def _digest(value: str) -> bytes:
    text = value.strip("\0 ")
    return ABSENT if text.upper() in _NOBODY else hashlib.sha256(text.encode("utf-8", "replace")).digest()
