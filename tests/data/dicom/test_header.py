"""What a header must say, and what is no image."""

import pytest

from medjax.data.dicom.header import read_header
from medjax.data.reading.listing import UnfitError
from tests.dicom_files import dicom, ramp, wheel_file


def test_what_an_image_is_of():
    header = read_header(wheel_file("CT_small.dcm"))
    assert (header.modality, header.rows, header.columns, header.samples, header.bits) == (
        "CT",
        128,
        128,
        1,
        16,
    )
    assert (header.is_signed, header.frames, header.is_gray, header.is_palette) == (True, 1, True, False)
    assert len(header.pixels) == 128 * 128 * 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test-SR.dcm", "a structured report"),
        ("rtdose.dcm", "a dose of radiotherapy"),
        ("rtstruct.dcm", "a set of contours"),
        ("liver_1frame.dcm", "a segmentation"),
        ("waveform_ecg.dcm", "an electrocardiogram"),
        ("dicomdirtests/DICOMDIR", "a directory"),
    ],
)
def test_what_is_no_image_is_named(name, kind):
    with pytest.raises(UnfitError, match=f"{kind}.*no image"):
        read_header(wheel_file(name))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "writing in its pixels"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, "whole slide"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "enhanced"),
        ({"PixelData": None}, "without pixels"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "secondary capture"),
        ({"PhotometricInterpretation": "CMYK"}, "color space that is not known"),
        ({"PhotometricInterpretation": "RGB"}, "samples per pixel"),
        ({"Rows": None}, "without a number in Rows"),
        ({"BitsStored": 1}, "1 bits stored in 16"),
        ({"BitsStored": 17}, "17 bits"),
        ({"BitsAllocated": 32}, "bits stored in 32"),
        ({"HighBit": 7}, "not in their lowest bits"),
        ({"NumberOfFrames": "-3"}, "NumberOfFrames"),
    ],
)
def test_what_cannot_be_taken_rightly_is_refused(tags, reason):
    with pytest.raises(UnfitError, match=reason):
        read_header(dicom(ramp(), **tags))
