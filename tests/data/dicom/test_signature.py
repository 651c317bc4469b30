"""Which bytes are a DICOM file."""

from medjax.data.dicom.signature import is_dicom, mark_frame, split_mark
from tests.dicom_files import WHEEL, dicom, ramp, wheel_file
from tests.sample_files import jpeg, png


def test_files_are_known_by_their_content():
    assert is_dicom(dicom(ramp()))
    bare = ("rtstruct.dcm", "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm")
    assert all(map(is_dicom, map(wheel_file, bare)))
    others = [path for path in WHEEL.rglob("*") if path.suffix in (".txt", ".json", ".icc", ".dump", ".gz")]
    assert not any(is_dicom(path.read_bytes()) for path in others)
    assert not any(map(is_dicom, (b"", png(0), jpeg(0), b"\x08\0", b"\x08\0" * 100)))


def test_a_mark_is_taken_off_again():
    marked = mark_frame(b"DICM", 17)
    assert is_dicom(marked)
    assert split_mark(marked) == (17, b"DICM")
    assert split_mark(b"DICM") == (None, b"DICM")
    assert split_mark(marked[:20]) == (None, marked[:20])
