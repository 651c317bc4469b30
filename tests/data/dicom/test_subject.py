"""Whose image a file is of, without a name."""

from medjax.data.dicom.subject import ABSENT, as_subject, subject_of
from tests.dicom_files import make_dataset, ramp


def test_a_patient_is_a_digest_and_nobody_is_none():
    one, same, other = (
        as_subject(subject_of(make_dataset(ramp(), PatientID=id, StudyInstanceUID="1.2")))
        for id in ("A7", "A7 ", "A8")
    )
    assert one == same
    assert one.patient != other.patient
    assert one.study == other.study
    assert len(one.patient) == len(ABSENT)
    assert b"A7" not in subject_of(make_dataset(ramp(), PatientID="A7"))
    for nobody in ("", "Anonymous", "0", None):
        assert as_subject(subject_of(make_dataset(ramp(), PatientID=nobody))).patient == ABSENT
