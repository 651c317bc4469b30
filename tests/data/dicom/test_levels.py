"""Gray levels of DICOM images beside pydicom's own lookup tables and windows."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medjax.config import DataConfig
from medjax.data.dicom.decode import decode_dicom
from medjax.data.dicom.levels import ALL_HOUNSFIELD, HOUNSFIELD_WINDOWS, describe_rules
from medjax.data.reading.listing import UnfitError
from tests.dicom_files import dicom, encode_dicom, make_dataset, ramp, wheel_file


def decoded(data: bytes, **settings) -> np.ndarray:
    """Gray levels at the size of the image, which is a square."""
    side = pydicom.dcmread(io.BytesIO(data)).Rows
    return decode_dicom(data, DataConfig(image_size=side, **settings)).pixels[..., 0].astype(int)


def through(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(int)


def reference(data: bytes) -> np.ndarray:
    """Values after the modality LUT, by pydicom."""
    file = pydicom.dcmread(io.BytesIO(data))
    return apply_modality_lut(file.pixel_array, file).astype(float)


@pytest.mark.parametrize("window", [*HOUNSFIELD_WINDOWS, "auto", (-100, 900)])
@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_ct_is_read_in_hounsfield_units(name, window):
    data = wheel_file(name)
    low, high = HOUNSFIELD_WINDOWS.get(window, ALL_HOUNSFIELD) if isinstance(window, str) else window
    expected = through(reference(data), low, high)
    file = pydicom.dcmread(io.BytesIO(data))
    expected[file.pixel_array == file.get("PixelPaddingValue")] = 0
    np.testing.assert_array_equal(decoded(data, window=window), expected)
    assert len(np.unique(expected)) > 20


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm"),
        *("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        "MR_small_padded.dcm",
    ],
)
def test_mr_is_read_from_its_1st_to_its_99th_percentile_in_any_encoding(name):
    data = wheel_file(name)
    values = reference(wheel_file("MR_small.dcm"))
    limits = np.percentile(values, [1, 99], method="inverted_cdf")
    np.testing.assert_array_equal(decoded(data), through(values, *limits))


def test_the_same_rules_make_gray_levels_of_sixteen_bits():
    """So that a CT keeps its Hounsfield units apart."""
    ct = wheel_file("CT_small.dcm")
    low, high = ALL_HOUNSFIELD
    wanted = np.clip((reference(ct) - low) / (high - low), 0, 1)
    levels = decoded(ct, window="auto", depth=16)
    np.testing.assert_array_equal(levels, np.rint(65535 * wanted))
    assert len(np.unique(levels)) == len(np.unique(wanted)) > 256
    mr, values = wheel_file("MR_small.dcm"), reference(wheel_file("MR_small.dcm"))
    low, high = np.percentile(values, [1, 99], method="inverted_cdf")
    np.testing.assert_array_equal(
        decoded(mr, depth=16), np.rint(65535 * np.clip((values - low) / (high - low), 0, 1))
    )
    x_ray = dicom(ramp(12), "DX", bits=12, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(decoded(x_ray, depth=16), np.rint(65535 * (1 - ramp(12) / 4095)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_x_rays_are_read_through_their_own_window(function, signed):
    pixels = ramp(12)
    if signed:
        pixels = (pixels.astype(int) - 2048).astype(np.int16)
    tags = {"WindowCenter": [500, 9], "WindowWidth": [1800, 9], "RescaleSlope": 2, "RescaleIntercept": -300}
    dataset = make_dataset(pixels, "DX", bits=12, **tags)
    if function is not None:
        dataset.VOILUTFunction = function
    expected = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset)
    low, high = (2 * each - 300 for each in ((-2048, 2047) if signed else (0, 4095)))
    np.testing.assert_allclose(
        decoded(encode_dicom(dataset)), 255 * (expected - low) / (high - low), atol=0.5001
    )


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lookup_tables_are_those_of_pydicom(bits, signed):
    first = -600 if signed else 700
    pixels = (ramp(12).astype(int) - 2048 * signed).astype(np.int16 if signed else np.uint16)
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [1500, first, bits])
    item.add_new(0x00283006, "US", np.linspace(2**bits - 1, 0, 1500).astype(int).tolist())
    voi = make_dataset(pixels, "CR", bits=12, VOILUTSequence=[item])
    modality = make_dataset(pixels, "CR", bits=12, ModalityLUTSequence=[item])
    index = np.clip(pixels.astype(int) - first, 0, 1499)
    expected = np.array(item.LUTData)[index] * 255 / (2**bits - 1)
    np.testing.assert_allclose(decoded(encode_dicom(voi)), expected, atol=0.5001)
    if bits > 8:  # pydicom's index of a table of 8 bits has 8 bits itself
        np.testing.assert_array_equal(apply_voi_lut(pixels, voi), np.array(item.LUTData)[index])
    largest = max(item.LUTData)
    np.testing.assert_allclose(
        decoded(encode_dicom(modality)), np.array(item.LUTData)[index] * 255 / largest, atol=0.5001
    )


def test_entries_of_more_bits_than_the_table_says_are_white():
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, 8])
    item.add_new(0x00283006, "US", [2 * entry for entry in range(256)])
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    found = decoded(encode_dicom(make_dataset(pixels, "CR", bits=12, VOILUTSequence=[item])))
    np.testing.assert_array_equal(found, np.minimum(2 * pixels, 255))


def test_what_is_black_as_white_is_inverted_and_padding_is_black_either_way():
    pixels = ramp(12)
    pixels[:2] = 4000
    plain = decoded(dicom(pixels, "CR", bits=12))
    turned = decoded(dicom(pixels, "CR", bits=12, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(turned, 255 - plain)
    padded = decoded(
        dicom(pixels, "CR", bits=12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4000)
    )
    assert (padded[pixels == 4000] == 0).all()
    np.testing.assert_array_equal(padded[pixels != 4000], turned[pixels != 4000])


def test_padding_counts_for_no_percentile():
    pixels = np.full((16, 16), -2000, np.int16)
    pixels[4:12, 4:12] = np.arange(64).reshape(8, 8)
    found = decoded(dicom(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1900))
    np.testing.assert_array_equal(found[4:12, 4:12].ravel(), through(np.arange(64), 0, 63))
    assert found[0].max() == 0


def test_bits_above_those_that_are_stored_count_for_nothing():
    pixels = ramp(12)
    signed = (pixels.astype(int) - 2048).astype(np.int16)
    np.testing.assert_array_equal(
        decoded(dicom(pixels | 0xA000, "CR", bits=12)), decoded(dicom(pixels, "CR", bits=12))
    )
    np.testing.assert_array_equal(
        decoded(dicom((signed & 0x0FFF).astype(np.int16), bits=12)), decoded(dicom(signed, bits=12))
    )


@pytest.mark.parametrize(
    ("modality", "window", "tags", "reason"),
    [
        ("CT", "refuse", {}, "is a CT image"),
        ("CT", "soft", {"RescaleSlope": None, "RescaleIntercept": None}, "without RescaleSlope"),
        ("CT", "soft", {"RescaleType": "US"}, "other units"),
        ("MR", "lung", {}, "is no CT image"),
        ("PT", "auto", {}, "without a rule of its own"),
        ("DX", "auto", {"WindowCenter": 9, "WindowWidth": 0}, "WindowWidth"),
        ("DX", "auto", {"WindowCenter": 9, "WindowWidth": 5, "VOILUTFunction": "CUBIC"}, "VOILUTFunction"),
        ("CT", "soft", {"RescaleSlope": 0}, "RescaleSlope is 0"),
    ],
)
def test_what_the_header_leaves_open_is_refused(modality, window, tags, reason):
    with pytest.raises(UnfitError, match=reason):
        decoded(dicom(ramp(), modality, **tags), window=window)


def test_a_window_that_is_given_is_of_any_modality():
    pixels = ramp(12)
    found = decoded(dicom(pixels, "PT", bits=12, RescaleSlope=2, RescaleIntercept=0), window=(100, 3000))
    np.testing.assert_array_equal(found, through(2.0 * pixels, 100, 3000))


def test_the_rules_of_a_set_are_one_line():
    counts = {"hounsfield": 3, "percentiles": 1, "resized": 4}
    assert describe_rules("lung", counts) == (
        "CT from -1350 to 150 HU; MR from each image's 1st to its 99th percentile"
    )
    assert describe_rules((5, 9), {"given_window": 1, "own_window": 0}) == "values from 5 to 9"
