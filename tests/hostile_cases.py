"""Broken and hostile sources, each made on the spot in an empty folder; test_hostile.py says what must happen."""

import functools
import gzip
import lzma
import os
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.hostile_dicom import CASES as DICOM_CASES
from tests.sample_files import (
    encode,
    jpeg,
    medmnist_arrays,
    parted_set,
    png,
    png_chunk,
    random_pixels,
    raw_png,
    raw_tiff,
    small_set,
    tar_bytes,
    tar_member,
    write_folder,
    write_npz,
    write_zip,
)

NAME = "cat/x.png"
MIB = 2**20


class Case(NamedTuple):
    """One hostile source."""

    id: str
    make: Callable[[Path], Path | str]  # puts it into an empty folder
    name: str  # what the refusal must name
    reason: str  # a word that it must say
    problems: int = 1
    follow_links: bool = False


CASES: list[Case] = []


def case(name: str, reason: str, problems: int = 1, *, follow_links: bool = False):
    """Register a builder under its own name."""

    def register(make: Callable[[Path], Path | str]) -> Callable[[Path], Path | str]:
        CASES.append(Case(make.__name__, make, name, reason, problems, follow_links))
        return make

    return register


def folder_case(id: str, data: bytes, reason: str, name: str = NAME, blamed: str = "") -> None:
    """A sound folder with one bad file in it; `blamed` is what is named, unless that is the file."""
    make = lambda tmp: write_folder(tmp / "set", {**small_set(), name: data})  # noqa: E731
    CASES.append(Case(id, make, blamed or name, reason))


def zip_case(id: str, name: str, reason: str, data: bytes = b"", problems: int = 1) -> None:
    """A sound zip with one bad member in it."""
    tree = {**small_set(), name: data or png(7)}
    CASES.append(Case(f"zip_{id}", lambda tmp: write_zip(tmp / "set.zip", tree), name, reason, problems))


def tar_case(
    id: str, member: bytes | Callable[[], bytes], name: str, reason: str, pack=lambda data: data
) -> None:
    """A sound tar with one bad member at its end."""

    def make(tmp: Path) -> Path:
        path = tmp / "set.tar"
        path.write_bytes(pack(tar_bytes(small_set(), member() if callable(member) else member)))
        return path

    CASES.append(Case(f"tar_{id}", make, name, reason))


def npz_case(id: str, name: str, reason: str, problems: int = 1, **changes) -> None:
    """A sound .npz with some arrays replaced, or left out where None."""

    def make(tmp: Path) -> Path:
        arrays = {**medmnist_arrays(), **changes}
        return write_npz(
            tmp / "set.npz", {name: array for name, array in arrays.items() if array is not None}
        )

    CASES.append(Case(f"npz_{id}", make, name, reason, problems))


def zeros_deflated(mebibytes: int) -> bytes:
    """A raw deflate stream of so many MiB of zeros, made in no time: one flushed block, again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    first = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first * mebibytes + b"\x03\x00"


@functools.cache
def zeros_gzipped(mebibytes: int) -> bytes:
    """The same in gzip: streams of 64 MiB one after another."""
    return gzip.compress(bytes(64 * MIB), 9) * (mebibytes // 64)


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def bad_number(data: bytes) -> bytes:
    header = bytearray(data[:512])
    header[124:136] = b"0x1f_\0\0\0\0\0\0\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


# ---- paths ----


@case("missing", "No such file")
def missing_path(tmp: Path) -> Path:
    return tmp / "missing"


@case("pipe.zip", "not a regular file")
def pipe_as_source(tmp: Path) -> Path:
    os.mkfifo(tmp / "pipe.zip")
    return tmp / "pipe.zip"


@case("/dev/zero", "not a regular file")
def device_as_source(tmp: Path) -> Path:
    return Path("/dev/zero")


@case("a\0b", "null")
def nul_in_path(tmp: Path) -> str:
    return "a\0b"


@case("set.zip", "empty")
def empty_archive_file(tmp: Path) -> Path:
    (tmp / "set.zip").touch()
    return tmp / "set.zip"


@case("set", "no images")
def empty_folder(tmp: Path) -> Path:
    (tmp / "set").mkdir()
    return tmp / "set"


def _unsupported(suffix: str) -> None:
    def make(tmp: Path) -> Path:
        (tmp / f"set{suffix}").write_bytes(b"something")
        return tmp / f"set{suffix}"

    CASES.append(Case(f"suffix{suffix}", make, f"set{suffix}", "kind of file"))


for suffix in (".rar", ".7z", ".csv", ".tar.bz2", ".h5", ".png"):
    _unsupported(suffix)


# ---- layout ----


@case("set", "one class")
def one_class(tmp: Path) -> Path:
    return write_folder(tmp / "set", {"cat/1.png": png(1), "cat/2.png": png(2)})


@case("bird", "empty")
def empty_class(tmp: Path) -> Path:
    (tmp / "set" / "bird").mkdir(parents=True)
    return write_folder(tmp / "set", small_set())


@case("bird", "empty")
def class_of_junk(tmp: Path) -> Path:
    return write_folder(tmp / "set", {**small_set(), "bird/.DS_Store": b"x", "bird/Thumbs.db": b"x"})


folder_case("image_in_root", png(7), "outside", "x.png")
folder_case("image_nested_deeper", png(7), "nested", "cat/more/x.png")
folder_case("unknown_file_in_root", b"weights", "unknown", "model.bin")
folder_case("unknown_file_in_class", b"hello", "not a PNG, JPEG", "cat/notes.dat")
folder_case("archive_in_root", b"PK", "archive", "more.zip")
folder_case("formula_class", png(7), "formula", "=cmd|calc/x.png", "=cmd|calc")
folder_case("plus_class", png(7), "formula", "+1/x.png", "+1")
folder_case("minus_class", png(7), "formula", "-1/x.png", "-1")
folder_case("at_class", png(7), "formula", "@SUM/x.png", "@SUM")
folder_case("control_character_class", png(7), "control", "bad\x1b[31m/x.png", "bad\x1b[31m")
folder_case("backslash_in_name", png(7), "backslash", "cat\\x.png")
folder_case("same_pixels_two_labels", png(0), "same pixels", "dog/x.png")
folder_case("mixed_colors", png(7, (10, 8, 3)), "gray")


@case("test/dog", "missing")
def class_missing_in_part(tmp: Path) -> Path:
    tree = {name: data for name, data in parted_set().items() if not name.startswith("test/dog")}
    return write_folder(tmp / "set", tree)


@case("train", "missing")
def part_missing(tmp: Path) -> Path:
    return write_folder(
        tmp / "set", {n: data for n, data in parted_set().items() if not n.startswith("train")}
    )


@case("set", "like storage")
def folders_of_storage(tmp: Path) -> Path:
    names = ("images_part_1/1.png", "images_part_2/2.png")
    return write_folder(tmp / "set", {name: png(i) for i, name in enumerate(names)})


@case("labels.csv", "in its rows")
def table_of_labels(tmp: Path) -> Path:
    rows = "image,label\n" + "".join(
        f"{name.replace('/', '_')},{i % 2}\n" for i, name in enumerate(small_set())
    )
    tree = {name.replace("/", f"/{name.split('/')[0]}_"): data for name, data in small_set().items()}
    return write_folder(tmp / "set", {**tree, "labels.csv": rows.encode()})


@case("cat/masks", "masks")
def masks_in_classes(tmp: Path) -> Path:
    return write_folder(tmp / "set", {**small_set(), **{f"cat/masks/{i}.png": png(i + 9) for i in range(5)}})


@case("validation", "second")
def part_twice(tmp: Path) -> Path:
    tree = parted_set()
    return write_folder(
        tmp / "set", tree | {n.replace("val/", "validation/"): png(i) for i, n in enumerate(tree)}
    )


@case("train/x.png", "outside")
def image_in_part(tmp: Path) -> Path:
    return write_folder(tmp / "set", {**parted_set(), "train/x.png": png(7)})


@case("extra/x.png", "beside the parts")
def folder_beside_parts(tmp: Path) -> Path:
    return write_folder(tmp / "set", {**parted_set(), "extra/x.png": png(7)})


@case("é.png", "twice")
def same_name_after_normalisation(tmp: Path) -> Path:
    return write_folder(tmp / "set", {**small_set(), "cat/\u00e9.png": png(7), "cat/e\u0301.png": png(8)})


# ---- files that are none ----


def _link(tmp: Path, target: str, name: str = NAME) -> Path:
    root = write_folder(tmp / "set", small_set())
    (root / name).symlink_to(target)
    return root


@case(NAME, "symbolic link")
def link_to_file(tmp: Path) -> Path:
    return _link(tmp, "0.png")


@case("cat/loop", "symbolic link")
def link_loop(tmp: Path) -> Path:
    return _link(tmp, "..", "cat/loop")


@case("bird", "symbolic link")
def link_to_class(tmp: Path) -> Path:
    return _link(tmp, "dog", "bird")


@case("cat/loop", "folder around it", follow_links=True)
def followed_link_to_folder(tmp: Path) -> Path:
    return _link(tmp, "..", "cat/loop")


@case("cat/out", "outside the data", follow_links=True)
def followed_link_to_foreign_folder(tmp: Path) -> Path:
    write_folder(tmp / "other", small_set())
    return _link(tmp, str(tmp / "other"), "cat/out")


@case("owl", "another link", follow_links=True)
def followed_links_to_one_folder(tmp: Path) -> Path:
    root = write_folder(tmp / "set", {**small_set(), ".store/1.png": png(7)})
    for name in ("bird", "owl"):
        (root / name).symlink_to(".store")
    return root


@case(NAME, "symbolic links", follow_links=True)
def followed_link_to_itself(tmp: Path) -> Path:
    return _link(tmp, "x.png")


@case(NAME, "No such file", follow_links=True)
def followed_link_to_nothing(tmp: Path) -> Path:
    return _link(tmp, "nothing")


@case(NAME, "regular file", follow_links=True)
def followed_link_to_device(tmp: Path) -> Path:
    return _link(tmp, "/dev/zero")


@case(NAME, "pipe")
def pipe_in_class(tmp: Path) -> Path:
    root = write_folder(tmp / "set", small_set())
    os.mkfifo(root / NAME)
    return root


@case(NAME, "socket")
def socket_in_class(tmp: Path) -> Path:
    root = write_folder(tmp / "set", small_set())
    before = os.getcwd()
    os.chdir(root / "cat")  # a socket's path may have 108 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("x.png")
    finally:
        os.chdir(before)
    return root


@case("cat/\\udcff.png", "UTF-8")
def name_not_utf8(tmp: Path) -> Path:
    root = write_folder(tmp / "set", small_set())
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff.png")).write_bytes(png(7))
    return root


@case(NAME, "MiB")
def file_of_gigabytes(tmp: Path) -> Path:
    root = write_folder(tmp / "set", small_set())
    with open(root / NAME, "wb") as handle:
        handle.truncate(2**32)  # sparse: it takes no space
    return root


# ---- images ----

PNG, JPEG = png(7), jpeg(7)
folder_case("empty_image", b"", "empty")
folder_case("truncated_png", PNG[: len(PNG) // 2], "truncated")
folder_case("png_without_end", PNG[:-12], "truncated")
folder_case("png_with_flipped_bit", PNG[:50] + bytes([PNG[50] ^ 1]) + PNG[51:], "checksum")
folder_case("png_with_too_little_data", raw_png(50, 50, data=zlib.compress(bytes(100))), "damaged")
folder_case("png_of_no_width", raw_png(0, 10), "damaged")
folder_case("png_without_palette", raw_png(4, 4, color=3), "palette")
folder_case("png_without_header", PNG[:8] + png_chunk(b"IEND"), "damaged")
folder_case("png_of_unknown_kind", raw_png(4, 4, bit_depth=8, color=0)[:25] + b"\x05" + PNG[26:], "checksum")
folder_case("png_of_many_chunks", raw_png(4, 4, *[png_chunk(b"vpAg")] * 2000), "chunks")
folder_case(
    "png_text_bomb", raw_png(4, 4, png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**25)))), "damaged"
)
folder_case("truncated_jpeg", JPEG[: len(JPEG) // 2], "truncated")
folder_case("jpeg_without_end", JPEG[:-2], "truncated")
folder_case("jpeg_header_alone", JPEG[:40], "truncated")
folder_case(
    "jpeg_of_many_scans", JPEG[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 1000 + b"\xff\xd9", "scans"
)
folder_case("jpeg_of_fill_bytes", JPEG[:2] + b"\xff" * (2 * MIB) + JPEG[2:], "too long")
folder_case(
    "jpeg_of_metadata", JPEG[:2] + b"\xff\xe1\xff\xffExif\0\0".ljust(65537, b"x") * 300 + JPEG[2:], "too long"
)
folder_case("noise", random_pixels(0, (500,)).tobytes(), "not a PNG, JPEG")
folder_case("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript")
folder_case("gif", encode(random_pixels(1), "GIF"), "GIF")
for _name, (_data, _reason) in DICOM_CASES.items():
    folder_case(f"dicom_{_name}", _data, _reason)
folder_case("pdf", b"%PDF-1.7", "PDF")
folder_case("zip_in_class", b"PK\x03\x04" + bytes(50), "archive")
folder_case("tar_in_class", tar_bytes(small_set()), "archive")
folder_case("gray_16_bits", encode(np.arange(80, dtype=np.uint16).reshape(10, 8)), "16 bits")
folder_case("rgb_16_bits", raw_png(4, 4, bit_depth=16, color=2), "16 bits")
folder_case("cmyk", encode(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK")
folder_case("100_megapixels", raw_png(10_000, 10_000, bit_depth=1), "megapixels")
folder_case("400_megapixels_claimed", raw_png(20_000, 20_000, data=zlib.compress(b"")), "megapixels")
folder_case("jpeg_of_4_gigapixels_claimed", with_jpeg_size(JPEG, 65_535, 65_535), "megapixels")
folder_case("one_endless_line", raw_png(60_000_000, 1, bit_depth=1), "per side")
folder_case("half_transparent", encode(np.full((4, 4, 4), 128, np.uint8)), "transparent")
folder_case("gray_and_alpha", encode(np.zeros((4, 4, 2), np.uint8)), "transparent")
folder_case("transparent_palette", encode(Image.new("P", (4, 4)), transparency=0), "transparent")
folder_case("transparent_color", encode(Image.new("RGB", (4, 4)), transparency=(0, 0, 0)), "transparent")
folder_case("transparent_gray", raw_png(4, 4, png_chunk(b"tRNS", b"\0\0"), bit_depth=2), "transparent")
FRAMES = [Image.fromarray(random_pixels(seed, (8, 8, 3))) for seed in range(2)]
folder_case("animated_png", encode(FRAMES[0], save_all=True, append_images=FRAMES[1:]), "animation")
folder_case("two_jpegs_in_one", encode(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]), "2 images")


# ---- TIFF, WebP, BMP, volumes ----


def tiff(directory: list[tuple[int, int, int, int]], rest: bytes = b"", following: int = 0) -> bytes:
    """A TIFF of these entries (tag, type, count, value or place) and what follows them."""
    entries = b"".join(struct.pack("<HHII", *entry) for entry in directory)
    start = struct.pack("<IH", 8, len(directory))
    return b"II*\0" + start + entries + struct.pack("<I", following) + rest


def tiff_with_pieces(compression: int, offsets: list[int], counts: list[int], rest: bytes) -> bytes:
    """A gray TIFF of 64 by 64 pixels in these strips; both lists stand in front of `rest`."""
    places = [8 + 2 + 12 * 8 + 4 + 4 * len(each) for each in ([], offsets)]
    directory = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    directory += [(273, 4, len(offsets), places[0]), (278, 4, 1, 1), (279, 4, len(counts), places[1])]
    return tiff(directory, struct.pack(f"<{2 * len(offsets)}I", *offsets, *counts) + rest)


GRAY = random_pixels(1, (16, 16))
PAGES = [
    Image.fromarray(random_pixels(seed, (8, 8, 3))) for seed in range(2)
]  # others remember their encoder
TIFF = raw_tiff(GRAY)
folder_case("tiff_header_alone", b"II*\0", "truncated")
folder_case("tiff_directory_beyond_the_end", b"II*\0" + struct.pack("<I", 2**31), "truncated")
folder_case("truncated_tiff", TIFF[:-10], "truncated")
folder_case("tiff_of_4_gigapixels_claimed", raw_tiff(GRAY, {256: 65_535, 257: 65_535}), "megapixels")
folder_case("tiff_of_no_width", raw_tiff(GRAY, {256: 0}), "0×16")
folder_case("tiff_of_many_tags", tiff([(40_000 + n, 3, 1, 0) for n in range(25_000)]), "directory of 25,000")
folder_case(
    "tiff_tag_bomb", tiff([(40_000 + n, 1, MIB, 20_000) for n in range(900)], bytes(2 * MIB)), "16 MiB"
)
folder_case(
    "tiff_tag_bomb_inside",
    raw_tiff(GRAY, {34665: 600})[:600].ljust(600, b"\0") + struct.pack("<H", 900)
    + b"".join(struct.pack("<HHII", 40_000 + n, 1, MIB, 0) for n in range(900)) + bytes(MIB + 8),
    "16 MiB",
)  # fmt: skip
folder_case(
    "tiff_of_a_giant_tile", raw_tiff(GRAY, {322: 65_520, 323: 65_520, 324: 8, 325: 99}), "65520×65520"
)
folder_case("tiff_without_pixels", raw_tiff(GRAY, {273: None}), "no pixels")
folder_case("tiff_of_many_strips", tiff_with_pieces(1, [8] * 70_000, [1] * 70_000, b""), "70,000 strips")
folder_case("tiff_of_one_strip_many_times", tiff_with_pieces(8, [8] * 64, [500] * 64, bytes(500)), "overlap")
folder_case("tiff_pages", encode(PAGES[0], "TIFF", save_all=True, append_images=PAGES[1:]), "more than one")
folder_case("tiff_pages_in_a_circle", tiff([(256, 4, 1, 8), (257, 4, 1, 8)], following=8), "more than one")
folder_case("tiff_of_floats", encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "negative")
folder_case("tiff_of_signed_numbers", raw_tiff(GRAY, {339: 2}), "negative")
folder_case("tiff_in_an_unread_compression", raw_tiff(GRAY, {259: 34_925}), "method 34925")
folder_case("tiff_of_noise_in_deflate", raw_tiff(GRAY, {259: 8}), "damaged")
folder_case("tiff_of_too_little_lzw", raw_tiff(GRAY, {259: 5, 257: 4000, 278: 4000}), "damaged")
folder_case(
    "tiff_of_many_scans",
    raw_tiff(np.frombuffer(b"\xff\xda" * 128, np.uint8).reshape(16, 16), {259: 7}),
    "scans",
)
folder_case("tiff_in_cmyk", encode(Image.new("CMYK", (8, 8)), "TIFF"), "CMYK")
folder_case("transparent_tiff", encode(np.full((4, 4, 4), 128, np.uint8), "TIFF"), "transparent")
folder_case("tiff_of_16_bits", encode(np.arange(80, dtype=np.uint16).reshape(10, 8), "TIFF"), "16 bits")
folder_case("tiff_with_0_for_white", raw_tiff(GRAY.astype(np.uint16), {262: 0}), "0 for white")
folder_case("bigtiff", encode(GRAY, "TIFF", big_tiff=True), "BigTIFF")
folder_case("whole_slide", encode(GRAY, "TIFF", description="Aperio Image Library"), "whole slide")
folder_case("whole_slide_of_zeiss", b"ZISRAWFILE" + bytes(600), "whole slide")
WEBP = encode(random_pixels(1, (16, 16, 3)), "WEBP", lossless=True)
folder_case("webp_header_alone", b"RIFF\x10\0\0\0WEBPVP8 ", "truncated")
folder_case("truncated_webp", WEBP[:-20], "truncated")
folder_case(
    "webp_of_256_megapixels_claimed", WEBP[:21] + struct.pack("<I", 0xFFFFFFF) + WEBP[25:], "megapixels"
)
folder_case("webp_of_noise", WEBP[:40] + bytes(len(WEBP) - 40), "damaged")
folder_case("webp_without_a_picture", b"RIFF\x0c\0\0\0WEBPABCD\0\0\0\0", "size")
folder_case(
    "webp_of_many_chunks",
    b"RIFF" + struct.pack("<I", 4 + 8 * 99_999) + b"WEBP" + b"ABCD\0\0\0\0" * 99_999,
    "chunks",
)
folder_case("animated_webp", encode(PAGES[0], "WEBP", save_all=True, append_images=PAGES[1:]), "animation")
folder_case("transparent_webp", encode(np.full((4, 4, 4), 128, np.uint8), "WEBP"), "transparent")
BMP = encode(random_pixels(1, (16, 16, 3)), "BMP")
folder_case("bmp_header_alone", BMP[:20], "truncated")
folder_case("truncated_bmp", BMP[:-10], "truncated")
folder_case("bmp_of_runs", BMP[:30] + struct.pack("<I", 1) + BMP[34:], "run-length")
folder_case("bmp_of_gigapixels_claimed", BMP[:18] + struct.pack("<2i", 2**30, 2**30) + BMP[26:], "truncated")
folder_case("bmp_of_no_height", BMP[:22] + struct.pack("<i", 0) + BMP[26:], "16×0")
folder_case("bmp_around_a_jpeg", BMP[:30] + struct.pack("<I", 4) + BMP[34:], "another format")
folder_case("nifti", struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100), "NIfTI", "cat/x.nii")
folder_case(
    "nifti_in_gzip",
    gzip.compress(struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100)),
    "NIfTI",
    "cat/x.nii.gz",
)
folder_case("gzip_bomb_for_a_volume", zeros_gzipped(1024), "gzip", "cat/x.nii.gz")
folder_case("jpeg_2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "JPEG 2000")


# ---- zip ----

zip_case("absolute", "/etc/x.png", "absolute")
zip_case("drive", "C:/x.png", "absolute")
zip_case("climbing", "../../x.png", "'..'")
zip_case("climbing_inside", "cat/../../x.png", "'..'")
zip_case("nested", "cat/more.zip", "archive", b"PK\x05\x06" + bytes(18))
zip_case("image_in_root", "x.png", "outside")
zip_case("bad_image", NAME, "truncated", PNG[:30])


def _zip_member(tmp: Path, name: str = NAME, data: bytes = b"", **fields) -> Path:
    """A zip whose last member has fields of its own, such as flag_bits or external_attr."""
    path = write_zip(tmp / "set.zip", small_set())
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, data or png(7))
    return path


def _patched(path: Path, old: bytes, new: bytes, count: int = -1) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))
    return path


@case(NAME, "symbolic link")
def zip_link(tmp: Path) -> Path:
    return _zip_member(tmp, data=b"/etc/passwd", external_attr=0o120777 << 16)


@case(NAME, "device")
def zip_device(tmp: Path) -> Path:
    return _zip_member(tmp, external_attr=0o020666 << 16)


@case("cat\\x.png", "backslash")
def zip_backslash(tmp: Path) -> Path:
    return _patched(_zip_member(tmp, name="cat+x.png"), b"cat+x.png", b"cat\\x.png")


@case("cat/x", "NUL")
def zip_nul_in_name(tmp: Path) -> Path:
    return _patched(_zip_member(tmp, name="cat/x+y.png"), b"cat/x+y.png", b"cat/x\0y.png")


@case(NAME, "encrypted")
def zip_encrypted(tmp: Path) -> Path:
    path = _zip_member(tmp)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


@case(NAME, "twice")
def zip_twice(tmp: Path) -> Path:
    path = _zip_member(tmp, name="cat/y.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(NAME, png(8))
    return _patched(path, b"cat/y.png", b"cat/x.png")


@case("é.png", "twice")
def zip_twice_after_normalisation(tmp: Path) -> Path:
    return write_zip(tmp / "set.zip", {**small_set(), "cat/\u00e9.png": png(7), "cat/e\u0301.png": png(8)})


@case(NAME, "method 12")
def zip_bzip2(tmp: Path) -> Path:
    return _zip_member(tmp, compress_type=zipfile.ZIP_BZIP2)


@case(NAME, "method 14")
def zip_lzma(tmp: Path) -> Path:
    return _zip_member(tmp, compress_type=zipfile.ZIP_LZMA)


@case(NAME, "CRC")
def zip_bad_checksum(tmp: Path) -> Path:
    data = png(7)
    return _patched(_zip_member(tmp, data=data), data, data[:-20] + bytes(20))


@case("set.zip", "not a zip archive")
def zip_truncated(tmp: Path) -> Path:
    path = write_zip(tmp / "set.zip", small_set())
    path.write_bytes(path.read_bytes()[:-200])
    return path


@case("set.zip", "no images")
def zip_of_nothing(tmp: Path) -> Path:
    return write_zip(tmp / "set.zip", {})


@case("set.zip", "not a zip archive")
def zip_of_noise(tmp: Path) -> Path:
    (tmp / "set.zip").write_bytes(random_pixels(0, (5000,)).tobytes())
    return tmp / "set.zip"


@case("set.zip", "not a zip archive")
def zip_with_undecodable_name(tmp: Path) -> Path:
    path = _zip_member(tmp, name="cat/é.png")  # not ASCII: the flag for UTF-8 is set
    return _patched(path, "é".encode(), b"\xff\xff")


@case(NAME, "damaged")
def zip_with_two_names(tmp: Path) -> Path:
    return _patched(_zip_member(tmp), b"cat/x.png", b"dog/y.png", 1)


@case("cat/0.png", "overlaps", problems=2)
def zip_overlapping(tmp: Path) -> Path:
    """Two directory entries for the same bytes: the way of D. Fifield, "A better zip bomb", 2019."""
    path = _zip_member(tmp)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 42, 0)
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 42, 0)
    path.write_bytes(data)
    return path


def _zip_of_zeros(tmp: Path, mebibytes: int, stated: int, members: int = 1) -> Path:
    """A zip with members that inflate to many zeros, whatever size they state."""
    packed = zeros_deflated(mebibytes)
    path = write_zip(tmp / "set.zip", small_set())
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(members):
            archive.writestr(f"cat/x{number}.png", packed, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    position = 0
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for number in range(members):
            name = f"cat/x{number}.png".encode()
            header = {b"PK\x03\x04": 30, b"PK\x01\x02": 46}[signature]
            position = data.index(signature, data.index(name, position) - header)
            assert data[position : position + 4] == signature
            struct.pack_into("<H", data, position + method, zipfile.ZIP_DEFLATED)
            struct.pack_into("<I", data, position + method + 14, stated)
            position += header + len(name)
    path.write_bytes(data)
    return path


@case("cat/x0.png", "damaged")
def zip_claims_little_inflates_much(tmp: Path) -> Path:
    return _zip_of_zeros(tmp, 3000, stated=1000)


@case("cat/x0.png", "MiB")
def zip_member_of_gigabytes(tmp: Path) -> Path:
    return _zip_of_zeros(tmp, 2000, stated=2000 * MIB, members=1)


@case("set.zip", "bomb")
def zip_bomb(tmp: Path) -> Path:
    return _zip_of_zeros(tmp, 200, stated=200 * MIB, members=10)


# ---- tar ----

tar_case("absolute", tar_member("/etc/x.png", PNG), "/etc/x.png", "absolute")
tar_case("climbing", tar_member("cat/../../x.png", PNG), "cat/../../x.png", "'..'")
tar_case("backslash", tar_member("cat\\x.png", PNG), "cat\\x.png", "backslash")
tar_case("link", tar_member(NAME, kind=tarfile.SYMTYPE, linkname="/etc/passwd"), NAME, "symbolic link")
tar_case("hard_link", tar_member(NAME, kind=tarfile.LNKTYPE, linkname="cat/0.png"), NAME, "hard link")
tar_case("pipe", tar_member(NAME, kind=tarfile.FIFOTYPE), NAME, "pipe")
tar_case("character_device", tar_member(NAME, kind=tarfile.CHRTYPE), NAME, "device")
tar_case("block_device", tar_member(NAME, kind=tarfile.BLKTYPE), NAME, "device")
tar_case("sparse", tar_member(NAME, PNG, tarfile.GNUTYPE_SPARSE), NAME, "sparse")
tar_case("unknown_kind", tar_member(NAME, PNG, b"Z"), NAME, "kind")
tar_case("twice", tar_member("cat/0.png", PNG), "cat/0.png", "twice")
tar_case("name_not_utf8", tar_member("cat/\udcff.png", PNG), "cat/\\udcff.png", "UTF-8")
tar_case("nested", tar_member("cat/x.tar", tar_bytes(small_set())), "cat/x.tar", "archive")
tar_case("bad_image", tar_member(NAME, PNG[:30]), NAME, "truncated")
tar_case("member_cut_off", tar_member(NAME, b"", size=5000), "set.tar", "truncated")
tar_case("member_of_gigabytes", tar_member(NAME, b"", size=5 * 2**30), NAME, "MiB")
tar_case("member_of_exabytes", tar_member(NAME, b"", size=2**62), NAME, "MiB")
tar_case("bad_checksum", tar_member(NAME, PNG).replace(b"cat/x", b"cat/y", 1), "set.tar", "checksum")
tar_case("bad_number", b"", "set.tar", "number", pack=bad_number)
tar_case(
    "extended_header_of_gigabytes",
    tar_member("x", b"", tarfile.XHDTYPE, size=4 * 2**30),
    "set.tar",
    "header of",
)
tar_case(
    "long_name_of_gigabytes",
    tar_member("x", b"", tarfile.GNUTYPE_LONGNAME, size=2**33),
    "set.tar",
    "header of",
)
tar_case(
    "bad_extended_header", tar_member("x", b"99999 path=\n", tarfile.XHDTYPE), "set.tar", "extended header"
)
tar_case(
    "extended_header_of_digits",
    tar_member("x", b"9" * 900_000, tarfile.XHDTYPE),
    "set.tar",
    "extended header",
)
tar_case(
    "chain_of_headers", lambda: tar_member("x", b"", tarfile.XHDTYPE) * 5000 + tar_member(NAME), NAME, "empty"
)
tar_case(
    "sparse_map",
    tar_member("x", b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n", tarfile.XHDTYPE)
    + tar_member(NAME, PNG),
    NAME,
    "sparse",
)
tar_case("global_path", tar_member("x", b"14 path=evil.\n", tarfile.XGLTYPE), "set.tar", "all its members")
tar_case("two_archives", b"", "set.tar", "after its end", pack=lambda data: data * 2)
tar_case("without_end", b"", "set.tar", "truncated", pack=lambda data: data[:-1024])
tar_case("cut_in_header", b"", "set.tar", "truncated", pack=lambda data: data[:-1124])
tar_case("noise", b"", "set.tar", "not a tar archive", pack=lambda data: random_pixels(0, (5000,)).tobytes())


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(data) + packer.flush()


@case("set.tar.gz", "truncated")
def gzip_truncated(tmp: Path) -> Path:
    return _written(tmp / "set.tar.gz", _gzipped(tar_bytes(small_set()))[:-300])


@case("set.tar.gz", "damaged")
def gzip_bad_checksum(tmp: Path) -> Path:
    return _written(tmp / "set.tar.gz", _gzipped(tar_bytes(small_set()))[:-8] + bytes(8))


@case("set.tgz", "damaged")
def gzip_followed_by_noise(tmp: Path) -> Path:
    return _written(tmp / "set.tgz", _gzipped(tar_bytes(small_set())) + b"noise")


@case(NAME, "MiB")
def gzip_member_of_gigabytes(tmp: Path) -> Path:
    header = tar_member(NAME, b"", size=4096 * MIB)
    return _written(
        tmp / "set.tar.gz", _gzipped(tar_bytes(small_set())[:-1024] + header) + zeros_gzipped(4096)
    )


@case("set.tar.gz", "header of")
def gzip_extended_header_of_gigabytes(tmp: Path) -> Path:
    header = tar_member("x", b"", tarfile.XHDTYPE, size=4096 * MIB)
    return _written(
        tmp / "set.tar.gz", _gzipped(tar_bytes(small_set())[:-1024] + header) + zeros_gzipped(4096)
    )


@case("set.tar.gz", "bomb")
def gzip_bomb_of_members(tmp: Path) -> Path:
    member = _gzipped(tar_member(NAME, b"", size=192 * MIB)) + zeros_gzipped(192)
    return _written(tmp / "set.tar.gz", _gzipped(tar_bytes(small_set())[:-1024]) + member * 20)


@case("set.tar.gz", "bomb")
def gzip_bomb_after_the_end(tmp: Path) -> Path:
    return _written(tmp / "set.tar.gz", _gzipped(tar_bytes(small_set())) + zeros_gzipped(8192))


@case("set.tar.gz", "bomb")
def gzip_bomb_of_headers(tmp: Path) -> Path:
    folders = _gzipped(b"".join(tar_member(f"{i}", kind=tarfile.DIRTYPE) for i in range(2**11)))
    return _written(tmp / "set.tar.gz", folders * 150)


@case("set.tar.xz", "Memory")
def xz_of_giant_dictionary(tmp: Path) -> Path:
    data = lzma.compress(
        tar_bytes(small_set()), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    )
    # The dictionary's size is one byte of the block header, which is summed by CRC-32: 40 means 4 GiB.
    header = bytearray(data[12:24])
    assert header[2:4] == b"\x21\x01"
    header[4] = 40
    header[8:12] = struct.pack("<I", zlib.crc32(header[:8]))
    return _written(tmp / "set.tar.xz", data[:12] + header + data[24:])


@case("set.txz", "truncated")
def xz_truncated(tmp: Path) -> Path:
    return _written(tmp / "set.txz", lzma.compress(tar_bytes(small_set()))[:-100])


@case("set.tar.xz", "bomb")
def xz_bomb(tmp: Path) -> Path:
    header = tar_member(NAME, b"", size=192 * MIB)
    zeros = lzma.compress(bytes(64 * MIB), preset=0)
    start = lzma.compress(tar_bytes(small_set())[:-1024])
    return _written(tmp / "set.tar.xz", start + (lzma.compress(header) + zeros * 3) * 8)


# ---- npz ----

N = 4
npz_case("without_labels", "test_labels", "missing", test_labels=None)
npz_case("of_floats", "train_images", "float64", train_images=np.zeros((N, 8, 8)))
npz_case("of_sixteen_bits", "val_images", "uint16", val_images=np.zeros((N, 8, 8), np.uint16))
npz_case("of_volumes", "train_images", "shape", train_images=np.zeros((N, 8, 8, 8), np.uint8))
npz_case("of_four_channels", "train_images", "shape", train_images=np.zeros((N, 8, 8, 4), np.uint8))
npz_case("of_flat_images", "train_images", "shape", train_images=np.zeros((N, 64), np.uint8))
npz_case("of_a_number", "train_labels", "shape", train_labels=np.array(3))
npz_case(
    "of_many_labels", "test_labels", "another number of labels", 2, train_labels=np.zeros((N, 14), np.uint8)
)
npz_case("of_half_labels", "train_labels", "0.5", train_labels=np.array([0, 1, 0.5, 1]))
npz_case("of_undefined_labels", "train_labels", "nan", train_labels=np.array([0, 1, np.nan, 1]))
npz_case("of_complex_labels", "train_labels", "complex", train_labels=np.zeros(N, complex))
npz_case("with_too_few_names", "class_names", "label 1", class_names=np.array(["no"]))
npz_case("with_one_name_twice", "class_names", "twice", class_names=np.array(["no", "no"]))
npz_case("with_a_formula_for_a_name", "class =1", "formula", class_names=np.array(["no", "=1"]))
npz_case("of_words", "train_labels", "<U3", train_labels=np.array(["cat"] * N))
npz_case("of_negative_labels", "val_labels", "-1", val_labels=np.array([0, 1, -1, 0]))
npz_case("of_unequal_lengths", "test_labels", "5 labels for 4", test_labels=np.array([0, 1, 0, 1, 0]))
npz_case("of_no_images", "val_images", "empty", val_images=np.zeros((0, 10, 8), np.uint8), problems=2,
         val_labels=np.zeros(0, int))  # fmt: skip
npz_case("of_no_width", "val_images", "0", val_images=np.zeros((N, 10, 0), np.uint8))
npz_case("of_mixed_colors", "test_images", "color", test_images=np.zeros((N, 10, 8, 3), np.uint8))
npz_case("of_an_untrained_class", "test_labels", "class 7", test_labels=np.array([0, 1, 7, 0]))
npz_case(
    "of_one_class",
    "set.npz",
    "one class",
    **{f"{p}_labels": np.zeros(N, int) for p in ("train", "val", "test")},
)
npz_case("of_columns", "train_images", "column", train_images=np.asfortranarray(random_pixels(0, (N, 10, 8))))
npz_case("of_huge_images", "train_images", "per side", train_images=np.zeros((1, 1, 70_000), np.uint8),
         train_labels=np.zeros(1, int))  # fmt: skip


class _Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


npz_case("of_objects", "train_labels", "objects", train_labels=np.array([_Evil()] * N, dtype=object))


def _npz_with(tmp: Path, name: str, data: bytes) -> Path:
    path = write_npz(tmp / "set.npz", {n: a for n, a in medmnist_arrays().items() if n != name})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", data)
    return path


def _npy(shape: tuple | str, data: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@case("train_images", "shape")
def npz_shape_lies(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", _npy((10**6, 1000, 1000), bytes(400)))


@case("train_images", "impossible")
def npz_shape_overflows(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", _npy(f"({'9' * 4000}, {'9' * 4000}, 1)", bytes(400)))


@case("train_images", "impossible")
def npz_shape_negative(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", _npy((-4, -10, 10), bytes(400)))


@case("train_images", "damaged")
def npz_header_nested(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", _npy("(" * 9000, bytes(400)))


@case("train_images", "damaged")
def npz_header_is_code(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", _npy("__import__('os').mkdir('evil')", bytes(400)))


@case("train_images", "not a plain array")
def npz_header_of_gigabytes(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(400))


@case("train_images", "damaged")
def npz_array_of_noise(tmp: Path) -> Path:
    return _npz_with(tmp, "train_images", random_pixels(0, (500,)).tobytes())


@case("train_labels", "damaged")
def npz_with_a_pickle(tmp: Path) -> Path:
    return _npz_with(tmp, "train_labels", b"\x80\x04cos\nmkdir\n(Vevil\ntR.")


@case("set.npz", "not a zip archive")
def npz_of_noise(tmp: Path) -> Path:
    return _written(tmp / "set.npz", random_pixels(0, (5000,)).tobytes())


@case("set.npz", "not a zip archive")
def npz_that_is_npy(tmp: Path) -> Path:
    np.save(tmp / "array.npy", np.zeros((4, 4)))
    return (tmp / "array.npy").rename(tmp / "set.npz")


@case("train_images", "damaged")
def npz_with_flipped_bit(tmp: Path) -> Path:
    path = tmp / "set.npz"
    np.savez(path, **medmnist_arrays())
    pixels = medmnist_arrays()["train_images"].tobytes()
    return _patched(path, pixels, bytes([pixels[0] ^ 1]) + pixels[1:])


@case("set.npz", "bomb")
def npz_bomb(tmp: Path) -> Path:
    path = tmp / "set.npz"
    arrays = medmnist_arrays()
    del arrays["train_images"]
    np.savez(path, **arrays)
    header = _npy((13_000_000, 28, 28), b"")
    packed = zlib.compressobj(0, wbits=-15)
    data = packed.compress(header) + packed.flush(zlib.Z_FULL_FLUSH) + zeros_deflated(9720)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_images.npy", data)
    size = len(header) + 13_000_000 * 28 * 28
    raw = bytearray(path.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        position = raw.rindex(signature)
        struct.pack_into("<H", raw, position + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", raw, position + method + 14, min(size, 2**32 - 2))
    path.write_bytes(raw)
    return path
