"""Stored values and the tables over them."""

import numpy as np
import pytest

from medjax.data.dicom.header import read_header
from medjax.data.dicom.stored import index_of, look_up, stored_values
from tests.dicom_files import dicom, ramp


@pytest.mark.parametrize(
    ("bits", "dtype"),
    [(5, np.uint8), (8, np.int8), (12, np.uint16), (12, np.int16), (16, np.int16), (16, np.uint16)],
)
def test_each_pixel_finds_its_own_value(bits, dtype):
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    pixels = (low + ramp(bits, (130, 3)).astype(int)).astype(dtype)
    header = read_header(dicom(pixels, bits=bits))
    values = stored_values(header)
    assert len(values) == 2**bits
    np.testing.assert_array_equal(look_up(values, index_of(header, pixels)), pixels)
