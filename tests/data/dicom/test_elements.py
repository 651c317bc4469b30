"""The walk over the elements of a DICOM file."""

import struct
import zlib
from contextlib import suppress

import pytest

from medjax.data.dicom.elements import read_elements
from medjax.data.reading.listing import UnfitError
from tests.dicom_files import dicom, ramp, wheel_file


def test_only_what_an_image_needs_is_kept():
    elements = read_elements(dicom(ramp(), PatientName="Doe^John", InstitutionName="X"))
    assert b"Doe^John" not in elements.kept
    assert 0x00100010 in elements.tags
    assert elements.pixels == ramp().tobytes()
    assert (elements.is_implicit, elements.is_little_endian) == (False, True)
    assert read_elements(wheel_file("MR_small_implicit.dcm")).is_implicit
    assert not read_elements(wheel_file("MR_small_bigendian.dcm")).is_little_endian


def test_a_deflated_file_is_read_and_bounded():
    assert len(read_elements(wheel_file("image_dfl.dcm")).pixels) == 512 * 512
    data = wheel_file("image_dfl.dcm")
    start = data.index(b"1.2.840.10008.1.2.1.99") + 22
    bomb = zlib.compressobj(wbits=-15)
    with pytest.raises(UnfitError, match="unpacks to more than"):
        read_elements(data[:start] + bomb.compress(bytes(2**26)) + bomb.flush())
    with pytest.raises(UnfitError, match="damaged"):
        read_elements(data[:-30])


@pytest.mark.parametrize("length", range(132, 1150, 61))
def test_every_truncation_is_found(length):
    data = dicom(ramp())
    assert len(data) > 1150
    with suppress(UnfitError):  # between two elements an end may be
        assert read_elements(data[:length]).pixels is None


def test_sequences_of_unknown_type_and_length_are_skipped():
    inner = struct.pack("<HHL", 0x0009, 0x1001, 4) + b"abcd"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHL", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + item
    sequence += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    data = dicom(ramp())
    place = data.index(struct.pack("<HH", 0x0010, 0x0020))
    elements = read_elements(data[:place] + sequence + data[place:])
    assert 0x00091010 in elements.tags
    assert elements.pixels == ramp().tobytes()
