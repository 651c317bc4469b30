"""Whether a source is of DICOM files."""

import pytest

from medjax.data.dicom.peek import holds_dicom
from medjax.data.reading.folder import list_folder
from tests.dicom_files import dicom, ramp
from tests.sample_files import png, write_folder


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"cat/p/1": dicom(ramp())}, True),
        ({"a/1.png": png(0), "a/notes.txt": b"x", "b/p/s/1.ima": dicom(ramp())}, True),
        ({"a/1.png": png(0), "a/2": png(1)}, False),
        ({"a/1.png": dicom(ramp())}, False),
        ({".x/1": dicom(ramp())}, False),
    ],
)
def test_the_first_files_tell(tree, expected, tmp_path):
    assert holds_dicom(list_folder(write_folder(tmp_path, tree))) is expected
