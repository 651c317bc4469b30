"""What compressed pixels say of themselves; tests/hostile_dicom.py has more that lie."""

import pytest

from medjax.data.dicom.codestream import check_frame
from medjax.data.dicom.header import read_header
from medjax.data.reading.listing import UnfitError
from tests.dicom_files import compressed
from tests.sample_files import jpeg, random_pixels


def test_compressed_pixels_of_another_size_are_refused():
    header = read_header(compressed(random_pixels(0, (16, 16)), jpeg(0, (16, 16)), "1.2.840.10008.1.2.4.50"))
    check_frame(jpeg(0, (16, 16)), header)
    for other in ((15, 16), (16, 17), (16, 16, 3)):
        with pytest.raises(UnfitError, match="of another size"):
            check_frame(jpeg(0, other), header)
