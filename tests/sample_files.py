"""Images, archives and data sets made on the spot; no binary file is kept with the tests."""

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Tree = Mapping[str, bytes]


def random_pixels(seed: int, shape: tuple[int, ...] = (10, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int, shape: tuple[int, ...] = (10, 8)) -> bytes:
    return encode(random_pixels(seed, shape))


def jpeg(seed: int, shape: tuple[int, ...] = (10, 8)) -> bytes:
    return encode(random_pixels(seed, shape), "JPEG")


def small_set(images_per_class: int = 2) -> dict[str, bytes]:
    """Two classes of sound images, all different."""
    return {
        f"{name}/{number}.png": png(100 * label + number)
        for label, name in enumerate(("cat", "dog"))
        for number in range(images_per_class)
    }


def parted_set() -> dict[str, bytes]:
    return {
        f"{part}/{name}/{number}.png": png(1000 * index + 100 * label + number)
        for index, part in enumerate(("train", "val", "test"))
        for label, name in enumerate(("cat", "dog"))
        for number in range(2)
    }


def write_folder(root: Path, tree: Tree) -> Path:
    for name, data in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, tree: Tree, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in tree.items():
            archive.writestr(name, data)
    return path


def tar_member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields) -> bytes:
    """Header and data of one member, in GNU format; `fields` override the header's own, such as size."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


def tar_bytes(tree: Tree, *more: bytes) -> bytes:
    return b"".join(tar_member(name, data) for name, data in tree.items()) + b"".join(more) + bytes(1024)


def write_tar(path: Path, tree: Tree) -> Path:
    """A tar as the standard library writes it, packed as the suffix says, with its folders."""
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".txz": "w:xz"}.get(path.suffix, "w")
    folders = sorted(
        {"/".join(name.split("/")[:end]) for name in tree for end in range(1, name.count("/") + 1)}
    )
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(
    width: int, height: int, *before: bytes, bit_depth: int = 8, color: int = 0, data: bytes = b""
) -> bytes:
    """A PNG of the chunks given; `data` is the packed picture, black unless given."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color, 0, 0, 0)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    if not data:
        data = zlib.compress(bytes(height * (1 + (width * samples * bit_depth + 7) // 8)), 1)
    chunks = [png_chunk(b"IHDR", header), *before, png_chunk(b"IDAT", data), png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def raw_tiff(pixels: np.ndarray, changes: Mapping[int, int | None] | None = None, order: str = "II") -> bytes:
    """An uncompressed TIFF in gray, of one strip; `changes` are tags of one number, None to leave one out."""
    mark = "<" if order == "II" else ">"
    height, width = pixels.shape
    tags: dict[int, int | None] = {
        **{256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1, 262: 1, 273: 0, 277: 1, 278: height},
        **{279: pixels.nbytes, **(changes or {})},
    }
    present = {tag: value for tag, value in sorted(tags.items()) if value is not None}
    end = 8 + 2 + 12 * len(present) + 4
    if 273 in present:
        present[273] = present[273] or end
    entries = b"".join(struct.pack(mark + "HHII", tag, 4, 1, value) for tag, value in present.items())
    directory = struct.pack(mark + "HIH", 42, 8, len(present)) + entries + bytes(4)
    return order.encode() + directory + pixels.tobytes()


def medmnist_arrays(n: int = 4, shape: tuple[int, ...] = (10, 8)) -> dict[str, np.ndarray]:
    arrays = {}
    for seed, part in enumerate(("train", "val", "test")):
        arrays[f"{part}_images"] = random_pixels(seed, (n, *shape))
        arrays[f"{part}_labels"] = (np.arange(n) % 2).reshape(n, 1).astype(np.uint8)
    return arrays


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def snapshot(folder: Path) -> list[tuple]:
    """Names, kinds, sizes and times of all that lies in `folder`."""
    found = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(root, name))
            found.append((root, name, status.st_mode, status.st_size, status.st_mtime_ns))
    return sorted(found)
