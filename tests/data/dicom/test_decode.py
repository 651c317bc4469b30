"""DICOM files as a data set stores them: colors, frames, encodings, and none of their words in a message."""

import dataclasses
import io
import sys

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut

from medjax.config import DataConfig
from medjax.data.dicom.decode import decode_dicom
from medjax.data.reading.listing import UnfitError
from medjax.errors import RefusedError
from tests.dicom_files import WHEEL, compressed, dicom, encode_dicom, make_dataset, ramp, wheel_file
from tests.sample_files import jpeg, random_pixels

CONFIG = DataConfig(image_size=16, window="auto", frames="middle")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "SC_rgb_rle.dcm",
            "SC_rgb_jls_lossy_line.dcm",
            "SC_rgb_jpeg_dcmtk.dcm",
            "SC_rgb_dcmtk_+eb+cy+np.dcm",
        ),
        *("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_gdcm_KY.dcm", "examples_palette.dcm"),
    ],
)
def test_colors_are_those_of_pydicom(name):
    data = wheel_file(name)
    file = pydicom.dcmread(io.BytesIO(data))
    expected = file.pixel_array
    if file.PhotometricInterpretation == "PALETTE COLOR":
        expected = apply_color_lut(expected, file) >> 8
    height, width = expected.shape[:2]
    side = min(height, width)
    found = decode_dicom(data, DataConfig(image_size=side, fit="crop"))
    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(found.pixels, expected[top : top + side, left : left + side])
    assert found.changes[0] == "colored"


def test_every_file_of_the_wheel_is_decoded_or_refused_by_name():
    taken = 0
    files = [path for path in sorted(WHEEL.rglob("*")) if path.is_file() and "TINY_ALPHA" not in str(path)]
    for path in files:
        try:
            found = decode_dicom(path.read_bytes(), CONFIG)
        except UnfitError:
            continue
        taken += 1
        assert found.pixels.shape[:2] == (16, 16)
        assert found.pixels.max() > found.pixels.min()
    assert taken >= 70
    assert len(files) > 110


def test_the_same_pixels_in_another_encoding_are_the_same_image():
    first, *others = [
        decode_dicom(wheel_file(f"MR_small{kind}.dcm"), CONFIG)
        for kind in ("", "_RLE", "_bigendian", "_jp2klossless", "_implicit")
    ]
    for other in others:
        np.testing.assert_array_equal(other.digest, first.digest)
        np.testing.assert_array_equal(other.pixels, first.pixels)
    same = decode_dicom(dicom(ramp(), RescaleSlope="1.000", RescaleIntercept="0"), CONFIG)
    np.testing.assert_array_equal(same.digest, decode_dicom(dicom(ramp()), CONFIG).digest)
    rescaled = dicom(ramp(), RescaleSlope=2, RescaleIntercept=0)
    assert (decode_dicom(rescaled, CONFIG).digest != decode_dicom(dicom(ramp()), CONFIG).digest).any()


def test_of_many_frames_the_middle_one_is_taken_where_that_is_asked_for():
    frames = np.stack([ramp(12), ramp(12)[::-1], ramp(12).T])
    dataset = make_dataset(frames[0], NumberOfFrames=3)
    dataset.PixelData = frames.tobytes()
    data = encode_dicom(dataset)
    middle = decode_dicom(data, CONFIG).pixels
    np.testing.assert_array_equal(middle, decode_dicom(dicom(frames[1]), CONFIG).pixels)
    with pytest.raises(UnfitError, match=r"3 frames.*--frames middle"):
        decode_dicom(data, DataConfig())


def test_gray_in_jpeg_of_8_bits_is_decoded():
    pixels = random_pixels(0, (16, 16))
    data = compressed(pixels, jpeg(0, (16, 16)), "1.2.840.10008.1.2.4.50", modality="CR")
    found = decode_dicom(data, CONFIG)
    np.testing.assert_allclose(found.pixels[..., 0], pixels, atol=60)
    assert found.changes == ("own_window",)


def test_jpeg_2000_that_is_too_large_says_how_large_it_may_be():
    tags = {"modality": "CR", "Rows": 8001, "Columns": 8001}
    data = compressed(random_pixels(0, (16, 16)), b"\xff\x4f", "1.2.840.10008.1.2.4.90", **tags)
    with pytest.raises(UnfitError, match=r"8001×8001 pixels', 'at most 64 megapixels") as error:
        decode_dicom(data, dataclasses.replace(CONFIG, max_megapixels=100.0))
    assert "color" not in str(error.value)


@pytest.mark.parametrize("name", ["WindowWidth", "RescaleSlope", "Modality", "NumberOfFrames"])
def test_no_message_holds_the_value_of_a_tag(name):
    dataset = make_dataset(ramp(), "CR", WindowCenter=1, WindowWidth=2, RescaleSlope=1, RescaleIntercept=0)
    dataset.NumberOfFrames = 1
    placeholder = b"12345678"
    setattr(dataset, name, placeholder.decode())
    data = encode_dicom(dataset).replace(placeholder, b"DOE^JOHN")
    with pytest.raises(UnfitError) as error:
        decode_dicom(data, CONFIG)
    assert "DOE" not in str(error.value)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(RefusedError) as refusal:
        decode_dicom(b"", CONFIG)
    assert len(refusal.value.lines()) == 1
    assert "pip install 'medjax[dicom]'" in str(refusal.value)
