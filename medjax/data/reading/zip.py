"""List and read a zip archive member by member; it is never extracted.

`zipfile` parses the directory. Sound members are read without it, because the object that it makes for each member
takes three times as long as reading one; all others go through it.
"""

import os
import stat
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from medjax.data.reading.listing import (
    BOMB_REMEDY,
    MAX_FILE_BYTES,
    Entry,
    Fault,
    Key,
    Listing,
    UnfitError,
    bomb_fault,
    max_unpacked_bytes,
    oversize_fault,
)
from medjax.data.reading.names import tidy_name
from medjax.data.reading.zip_names import UTF8_FLAG, member_names
from medjax.files import ZIP_DAMAGE, open_regular

_ENCRYPTED = 0x1 | 0x40
_HARMLESS_FLAGS = 0x2 | 0x4 | 0x8 | UTF8_FLAG  # compression level, sizes after the data
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_BUFFER_BYTES = 2**20
# Half a million members: one takes about 70 bytes of the directory, and ten times as many in memory.
MAX_DIRECTORY_BYTES = 32 * 2**20
_MAX_END_BYTES = 22 + 65_535 + 20 + 56


@contextmanager
def open_zip(path: Path, encoding: str | None = None) -> Iterator[Listing]:
    """The members of the archive at `path`; `encoding` is that of names that state none (see `member_names`).

    Raises UnfitError if the archive as a whole cannot be used.
    """
    with open_archive(path) as archive, open_regular(path, _BUFFER_BYTES) as file:
        entries, guessed = list_members(archive, MAX_FILE_BYTES, max_unpacked_bytes(path), encoding)
        yield Listing(entries, lambda keys: _read(archive, file, keys), guessed=guessed)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file at `path`; raises UnfitError if it is not one."""
    with ExitStack() as stack:
        try:
            if _directory_bytes(path) > MAX_DIRECTORY_BYTES:
                raise UnfitError("has too many members", "unpack it yourself and give the folder")
            file = stack.enter_context(open_regular(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except ZIP_DAMAGE as error:
            raise UnfitError(
                f"is not a zip archive that can be read: {error}", "copy or pack it again"
            ) from None
        yield archive


def _directory_bytes(path: Path) -> int:
    """Size of the directory, which zipfile reads at once; see "end of central directory" in PKWARE's APPNOTE."""
    with open_regular(path) as handle:
        handle.seek(-min(path.stat().st_size, _MAX_END_BYTES), 2)
        end = handle.read()
    position = end.rfind(b"PK\x05\x06")
    size = int.from_bytes(end[position + 12 : position + 16], "little") if position >= 0 else 0
    if size == 2**32 - 1:  # zip64: the size is in another record
        position = end.rfind(b"PK\x06\x06")
        size = int.from_bytes(end[position + 40 : position + 48], "little")
    return size


def list_members(
    archive: zipfile.ZipFile,
    max_bytes: int,
    limit: int,
    encoding: str | None = None,
    unpacked_remedy: str = BOMB_REMEDY,
) -> tuple[list[Entry], frozenset[Key]]:
    """An entry for each member, with its index as key, and the keys of those whose names' encoding was guessed.

    Members of more than `max_bytes` have a fault. Raises UnfitError if all others together unpack to more than `limit`
    bytes.
    """
    members = archive.infolist()
    if sum(member.file_size for member in members if member.file_size <= max_bytes) > limit:
        raise UnfitError(*bomb_fault(limit)._replace(remedy=unpacked_remedy))
    overlapping = _overlapping(members, archive.start_dir)
    names, guessed = member_names(members, encoding)
    entries = [
        _entry(index, member, name, index in overlapping, max_bytes)
        for index, (member, name) in enumerate(zip(members, names, strict=True))
    ]
    return entries, frozenset(guessed)


def _entry(
    index: int, member: zipfile.ZipInfo, raw: str | Fault, is_overlapping: bool, max_bytes: int
) -> Entry:
    if isinstance(raw, Fault):
        return Entry(member.orig_filename, index, fault=raw)
    name, fault = tidy_name(raw)
    is_folder = raw.endswith("/")
    if fault is None and not is_folder and max(member.file_size, member.compress_size) > max_bytes:
        fault = oversize_fault(max(member.file_size, member.compress_size))
    if fault is None:
        mode = member.external_attr >> 16
        fault = _fault_of(mode, member.flag_bits, member.compress_type, is_folder, is_overlapping)
    return Entry(name, index, is_folder, fault)


@lru_cache(maxsize=256)  # nearly all members of an archive have the same arguments
def _fault_of(mode: int, flags: int, method: int, is_folder: bool, is_overlapping: bool) -> Fault | None:
    if stat.S_ISLNK(mode):
        return Fault("is a symbolic link", "pack the file itself")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Fault("is a device or pipe, not a regular file", "pack regular files only")
    if is_folder:
        return None
    if flags & _ENCRYPTED:
        return Fault("is encrypted", "pack it without a password")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Fault(f"uses compression method {method}", "pack it stored or deflated")
    return Fault("overlaps another member of the archive", "pack it again") if is_overlapping else None


def _overlapping(members: list[zipfile.ZipInfo], directory_start: int) -> set[int]:
    """Indices of members whose bytes overlap the next one, the way a small zip unpacks to petabytes."""
    order = sorted(range(len(members)), key=lambda index: members[index].header_offset)
    starts = [members[index].header_offset for index in order] + [directory_start]
    return {
        index
        for index, end in zip(order, starts[1:], strict=True)
        if members[index].header_offset + _LOCAL_HEADER.size + members[index].compress_size > end
    }


def _read(
    archive: zipfile.ZipFile, file: BinaryIO, keys: Iterable[Key]
) -> Iterator[tuple[Key, bytes | Fault]]:
    members = archive.infolist()
    starts = sorted(member.header_offset for member in members)
    for key in sorted(keys, key=lambda key: members[int(key)].header_offset):
        member = members[int(key)]
        following = bisect_right(starts, member.header_offset)
        end = starts[following] if following < len(starts) else archive.start_dir
        data = _read_sound(file, member, end)
        yield key, _read_member(archive, member) if data is None else data


def _read_sound(file: BinaryIO, member: zipfile.ZipInfo, end: int) -> bytes | None:
    """The content of a member that is sound and ends before `end`; None for any other, which zipfile then reads."""
    if member.flag_bits & ~_HARMLESS_FLAGS:
        return None
    try:
        file.seek(member.header_offset)
        fields = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        signature, name_length, extra_length = fields[0], fields[-2], fields[-1]
        name = file.read(name_length)
        file.seek(extra_length, os.SEEK_CUR)
        if signature != _LOCAL_SIGNATURE or name != member.orig_filename.encode("ascii"):
            return None
        if file.tell() + member.compress_size > end:
            return None
        data = file.read(member.compress_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
            data = decompressor.decompress(data, member.file_size + 1)
            if not decompressor.eof:
                return None
    except (UnicodeError, *ZIP_DAMAGE):
        return None
    return data if len(data) == member.file_size and zlib.crc32(data) == member.CRC else None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | Fault:
    """The content of a member by zipfile. (`ZipFile.read` would decompress beyond the stated size, then cut it off.)"""
    try:
        with archive.open(member) as handle:
            data = handle.read(member.file_size + 1)  # one more, so that the checksum is verified
    except ZIP_DAMAGE as error:
        return Fault(f"is damaged in the archive: {error}", "copy or pack the archive again")
    if len(data) != member.file_size:
        return Fault(f"unpacks to {len(data)} bytes, not {member.file_size}", "pack the archive again")
    return data
