"""Groups of DICOM images by patient or study."""

import pytest

from medjax.data.dicom.subject import ABSENT
from medjax.data.splitting.patient_groups import PATIENT, STUDY, patient_groups

A, B, S, T = (bytes([number]) * 32 for number in (1, 2, 3, 4))
IDS = ["a.dcm", "b.dcm", "c.dcm", "d.dcm"]


def partition(groups) -> list[int]:
    names = groups.tolist()
    return [names.index(name) for name in names]


@pytest.mark.parametrize(
    ("subjects", "tag", "expected"),
    [
        ([A + S, A + T, B + S, B + T], PATIENT, [0, 0, 2, 2]),
        ([A + S, A + T, A + S, A + T], STUDY, [0, 1, 0, 1]),
        ([ABSENT + S, ABSENT + S, ABSENT + T, ABSENT + T], STUDY, [0, 0, 2, 2]),
        ([A + S, B + S, ABSENT + T, ABSENT + T], PATIENT, [0, 1, 2, 2]),
        ([A + S, B + S, B + S, ABSENT * 2], PATIENT, [0, 1, 1, 3]),
    ],
)
def test_the_patient_is_the_group_and_else_the_study(subjects, tag, expected):
    groups, found = patient_groups(dict(enumerate(subjects)), IDS, IDS)
    assert found == tag
    assert partition(groups) == expected
    assert all(IDS[first] == name for first, name in zip(expected, groups, strict=True))


def test_images_of_other_formats_are_alone():
    groups, _ = patient_groups({0: A + S, 2: B + S, 3: B + T}, IDS, IDS)
    assert partition(groups) == [0, 1, 2, 2]
    assert patient_groups({}, IDS, IDS) == (None, None)


def test_frames_of_a_file_stay_together_where_nothing_tells_patients_apart():
    assert patient_groups(dict.fromkeys(range(4), A + S), IDS, IDS) == (None, None)
    files = ["a", "a", "b", "b"]
    for subject in (ABSENT * 2, A + S):
        groups, tag = patient_groups(dict.fromkeys(range(4), subject), IDS, files)
        assert (partition(groups), tag) == ([0, 0, 2, 2], None)
    groups, tag = patient_groups({0: A + S, 1: B + S, 2: ABSENT * 2, 3: ABSENT * 2}, IDS, files)
    assert (partition(groups), tag) == ([0, 1, 2, 2], PATIENT)
