"""DICOM files that lie: what each is, and a word of its refusal. All are small; most would be large once decoded."""

import struct
import zlib

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian as DEFLATED
from pydicom.uid import ImplicitVRLittleEndian

from tests.dicom_files import compressed, dicom, encode_dicom, make_dataset, ramp, wheel_file
from tests.sample_files import jpeg

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HHL", 0xFFFE, each, 0) for each in (0xE000, 0xE00D, 0xE0DD))
OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
PIXELS = ramp()
JPEG_8, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 80, 90))
RLE = "1.2.840.10008.1.2.5"
MIB = 2**20


def before_pixels(data: bytes, more: bytes) -> bytes:
    """The file with more elements in front of its pixels."""
    place = data.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    return data[:place] + more + data[place:]


def element(group: int, number: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2sHL", group, number, kind, 0, len(value) if length is None else length) + value


def deflated(packed: bytes) -> bytes:
    """A file whose deflated data set is `packed`."""
    data = encode_dicom(make_dataset(PIXELS), DEFLATED)
    start = data.index(DEFLATED.encode()) + len(DEFLATED)
    while data[start : start + 2] == b"\x02\0":
        start += 8 + int.from_bytes(data[start + 6 : start + 8], "little")
    return data[:start] + packed


def zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)) * mebibytes + b"\x03\0"


def nested(depth: int) -> bytes:
    """Sequences inside sequences, of undefined length."""
    start = element(0x7FDF, 0x1010, b"SQ", OPEN_ITEM, UNDEFINED)
    return start * depth + (ITEM_END + SEQUENCE_END) * depth


def nested_whole(depth: int) -> bytes:
    """The same of known length, in the sequence of a lookup table."""
    inner = b""
    for _ in range(depth):
        inner = element(0x0028, 0x3010, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner)
    return inner


def siz(rows: int, columns: int, tile: int) -> bytes:
    """A JPEG 2000 codestream that claims this size and nothing more."""
    sizes = struct.pack(">8L", columns, rows, 0, 0, tile, tile, 0, 0)
    return b"\xff\x4f\xff\x51" + struct.pack(">HH", 41, 0) + sizes + struct.pack(">HBBB", 1, 15, 1, 1)


def start_of_frame(kind: int, rows: int, columns: int) -> bytes:
    return b"\xff\xd8" + struct.pack(">BBHBHHB", 0xFF, kind, 11, 8, rows, columns, 1) + b"\1\x11\0\xff\xd9"


def with_table(**values) -> bytes:
    item = Dataset()
    item.add_new(0x00283002, "US", values.get("descriptor", [1000, 0, 12]))
    item.add_new(0x00283006, "US", values.get("data", [1, 2, 3]))
    return dicom(PIXELS, "CR", VOILUTSequence=[item])


def with_palette(**tags) -> bytes:
    dataset = make_dataset(PIXELS.astype(np.uint8), "US", PhotometricInterpretation="PALETTE COLOR")
    for color in ("Red", "Green", "Blue"):
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
        if tags.get("data"):
            setattr(dataset, f"{color}PaletteColorLookupTableData", tags["data"])
    return encode_dicom(dataset)


def with_pixels(data: bytes, syntax: str = JPEG_8) -> bytes:
    """A file whose compressed pixels are these bytes, items included."""
    whole = compressed(PIXELS.astype(np.uint8), b"xx", syntax, modality="CR")
    start = whole.rindex(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    return whole[:start] + data


def in_ascii(name: str, value: bytes) -> bytes:
    """A file with a text in the place of a number."""
    tags = {"WindowCenter": 1, "WindowWidth": 2, "RescaleSlope": 1, "RescaleIntercept": 0}
    data = dicom(PIXELS, "CR", **{**tags, name: "12345678"})
    return data.replace(b"12345678", value.ljust(8))


CASES = {
    "of_a_preamble": (bytes(128) + b"DICM", "without pixels"),
    "of_nulls": (bytes(128) + b"DICM" + bytes(1000), "DICOM"),
    "deflated_bomb": (deflated(zeros(1024)), "unpacks to more than"),
    "deflated_junk": (deflated(b"\xff" * 999), "damaged"),
    "deflated_cut_off": (encode_dicom(make_dataset(PIXELS), DEFLATED)[:-9], "damaged"),
    "of_elements": (
        before_pixels(
            dicom(PIXELS), b"".join(element(0x7FDF, 0x1000 + n % 16, b"UN", b"") for n in range(16)) * 20_000
        ),
        "there twice",
    ),
    "of_elements_in_a_sequence": (
        before_pixels(
            dicom(PIXELS),
            element(0x7FDF, 0x1010, b"SQ", OPEN_ITEM + element(9, 1, b"UN", b"") * 250_000, UNDEFINED),
        ),
        "too many elements",
    ),
    "of_sequences": (before_pixels(dicom(PIXELS), nested(5_000)), "sequences inside sequences"),
    "of_whole_sequences": (before_pixels(dicom(PIXELS, "CR"), nested_whole(2_000)), "DICOM"),
    "longer_than_it_is": (before_pixels(dicom(PIXELS), element(0x7FDF, 1, b"UT", b"", 2**31)), "damaged"),
    "of_undefined_text": (
        before_pixels(dicom(PIXELS), element(0x7FDF, 1, b"UT", b"x", UNDEFINED)),
        "damaged",
    ),
    "of_an_unknown_type": (before_pixels(dicom(PIXELS), element(0x7FDF, 1, b"ZZ", b"")), "damaged"),
    "of_a_long_value": (
        encode_dicom(make_dataset(PIXELS, PatientID="x" * 9_999), ImplicitVRLittleEndian),
        "(0010,0020)",
    ),
    "of_65535_rows": (dicom(PIXELS, Rows=65535, Columns=65535), "megapixels"),
    "of_8000_rows": (dicom(PIXELS, Rows=8000, Columns=8000), "fewer pixels than it claims"),
    "of_no_rows": (dicom(PIXELS, Rows=0), "pixels"),
    "of_frames": (dicom(PIXELS, NumberOfFrames=2**31 - 1), "2,147,483,647 frames"),
    "jpeg_of_frames": (
        compressed(PIXELS.astype(np.uint8), jpeg(0, (16, 16)), JPEG_8, NumberOfFrames=2**31 - 1),
        "2,147,483,647 frames",
    ),
    "of_no_frames_at_all": (dicom(PIXELS, NumberOfFrames="-1"), "NumberOfFrames"),
    "jpeg_2000_bomb": (compressed(PIXELS, siz(60_000, 60_000, 60_000), JPEG_2000), "of another size"),
    "jpeg_2000_of_tiles": (compressed(PIXELS, siz(16, 16, 1) + bytes(99), JPEG_2000), "damaged"),
    "jpeg_2000_of_many_tiles": (
        compressed(np.zeros((512, 512), np.uint8), siz(512, 512, 1), JPEG_2000),
        "of another size",
    ),
    "jpeg_bomb": (
        compressed(PIXELS.astype(np.uint8), start_of_frame(0xC0, 65500, 65500), JPEG_8),
        "of another size",
    ),
    "jpeg_without_a_scan": (
        compressed(PIXELS.astype(np.uint8), start_of_frame(0xC0, 16, 16), JPEG_8),
        "damaged",
    ),
    "jpeg_of_scans": (
        compressed(PIXELS.astype(np.uint8), jpeg(0, (16, 16)) + b"\xff\xda" * 99, JPEG_8),
        "of another size",
    ),
    "jpeg_ls_bomb": (compressed(PIXELS, start_of_frame(0xF7, 65500, 65500), JPEG_LS), "of another size"),
    "jpeg_ls_without_a_scan": (compressed(PIXELS, start_of_frame(0xF7, 16, 16), JPEG_LS), "damaged"),
    "rle_of_segments": (compressed(PIXELS, struct.pack("<16L", 15, *[64] * 15) + bytes(999), RLE), "damaged"),
    "rle_bomb": (
        compressed(np.zeros((2000, 2000), np.uint8), struct.pack("<16L", 1, 64, *[0] * 14), RLE),
        "fewer pixels than it claims",
    ),
    "of_pieces": (with_pixels(ITEM * 150_000 + SEQUENCE_END), "too many pieces"),
    "of_a_piece_too_long": (with_pixels(ITEM + struct.pack("<HHL", 0xFFFE, 0xE000, 2**31)), "damaged"),
    "of_pieces_of_pieces": (with_pixels(OPEN_ITEM * 99), "damaged"),
    "of_an_unknown_encoding": (compressed(PIXELS, b"xx", "1.2.3.4.5"), "not known"),
    "of_a_video": (compressed(PIXELS, b"xx", "1.2.840.10008.1.2.4.102"), "video"),
    "jpeg_lossless": (compressed(PIXELS, b"xx", "1.2.840.10008.1.2.4.70"), "JPEG Lossless"),
    "of_a_short_palette": (with_palette(data=bytes(100)), "cut off"),
    "of_no_palette": (with_palette(), "segmented palette"),
    "of_a_short_table": (with_table(), "cut off"),
    "of_a_table_of_99_bits": (with_table(descriptor=[3, 0, 99]), "cut off"),
    "of_a_table_of_one_number": (with_table(descriptor=[3]), "lookup table"),
    "of_a_window_that_is_none": (in_ascii("WindowCenter", b"NaN"), "WindowCenter"),
    "of_an_infinite_slope": (in_ascii("RescaleSlope", b"1e999"), "RescaleSlope"),
    "of_a_formula": (in_ascii("WindowWidth", b"=1+1"), "WindowWidth"),
    "of_control_characters": (dicom(PIXELS, "\x1b[2J"), "without a rule"),
    "of_floats": (before_pixels(dicom(PIXELS), element(0x7FE0, 8, b"OF", bytes(4))), "floating-point"),
    "of_a_report": (wheel_file("test-SR.dcm"), "structured report"),
    "of_writing": (dicom(PIXELS, BurnedInAnnotation="YES"), "writing in its pixels"),
    "of_200_bits": (dicom(PIXELS, BitsStored=200), "200 bits"),
    "nifti": (struct.pack("<L", 348) + bytes(340) + b"n+1\0" + bytes(99), "NIfTI"),
}
