"""List and read a tar archive, plain, gzip or xz: read forwards, twice, never extracted.

The headers are parsed here, not by `tarfile`, which reads a header of any declared size into memory, recurses once for
each header in a chain, follows the maps of sparse files, searched extended headers in quadratic time (CVE-2024-6232),
and had its extraction filter bypassed (CVE-2025-4517). Data sets need only a small part of the format.

Format: pax, The Open Group Base Specifications Issue 8, IEEE Std 1003.1-2024,
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data.reading.listing import (
    MAX_FILE_BYTES,
    Entry,
    Fault,
    Key,
    Listing,
    UnfitError,
    max_unpacked_bytes,
    oversize_fault,
)
from medjax.data.reading.names import tidy_name
from medjax.data.reading.streams import PIECE, Reader, decompress
from medjax.files import open_regular

BLOCK = 512
# Of a header that holds a long name, or the attributes that macOS adds.
MAX_HEADER_BYTES = 2**20

_FILES = (b"0", b"\0", b"7")
_FOLDER, _LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL = b"5", b"L", b"K", b"x", b"g"
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_REFUSED = {
    b"1": Fault("is a hard link", "pack the file itself"),
    b"2": Fault("is a symbolic link", "pack the file itself"),
    b"3": Fault("is a device, not a regular file", "pack regular files only"),
    b"4": Fault("is a device, not a regular file", "pack regular files only"),
    b"6": Fault("is a named pipe, not a regular file", "pack regular files only"),
    b"S": Fault("is a sparse file", "pack it without --sparse"),
}
_OCTAL = re.compile(rb"[0-7]*")
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=]{1,255})=")
_PACK_AGAIN = "copy or pack it again"


class Member(NamedTuple):
    """A member of the archive, as its headers describe it."""

    name: bytes
    kind: bytes
    size: int  # bytes of data that follow


@contextmanager
def open_tar(path: Path) -> Iterator[Listing]:
    """The members of the archive at `path`; raises UnfitError if the archive as a whole cannot be used."""
    entries = [_entry(index, member) for index, member, _ in _members(path)]
    yield Listing([entry for entry in entries if entry is not None], lambda keys: _read(path, keys))


def _read(path: Path, keys: Iterable[Key]) -> Iterator[tuple[Key, bytes | Fault]]:
    wanted = set(keys)
    for index, member, reader in _members(path):
        if index in wanted:
            yield index, reader.read_exactly(member.size)


def _entry(index: int, member: Member) -> Entry | None:
    """The member as an entry; None for the packed folder itself."""
    raw = member.name.decode("utf-8", "surrogateescape")
    is_folder = member.kind == _FOLDER or (member.kind in _FILES and raw.endswith("/"))
    if is_folder and raw in (".", "./"):
        return None
    name, fault = tidy_name(raw)
    if member.kind not in (*_FILES, _FOLDER):
        unknown = Fault(f"is of the unsupported kind {member.kind!r}", "pack regular files only")
        fault = fault or _REFUSED.get(member.kind, unknown)
    return Entry(name, index, is_folder, fault)


def _members(path: Path) -> Iterator[tuple[int, Member, Reader]]:
    """Index, header and data of each member; data that is not read is skipped."""
    with open_regular(path) as file:
        reader = Reader(decompress(file), max_unpacked_bytes(path))
        changes: dict[str, Any] = {}  # fields of the next member that extended headers override
        index = 0
        while (block := reader.read(BLOCK)).count(0) < BLOCK:
            member = _parse_header(block)
            if member.kind in (_LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL):
                changes |= _parse_header_data(member, reader)
                continue
            if changes:
                member, changes = member._replace(**changes), {}
            if member.size > MAX_FILE_BYTES:
                name = member.name.decode("utf-8", "replace")
                raise UnfitError(
                    f"holds {name}, which {oversize_fault(member.size).reason}", oversize_fault(0).remedy
                )
            end = reader.position + _padded(member.size)
            yield index, member, reader
            reader.skip(end - reader.position)
            index += 1
        while rest := reader.read(PIECE):  # to the end, where the checksums of gzip and xz are
            if rest.count(0) < len(rest):
                raise UnfitError("continues after its end marker", "pack it as one archive")


def _parse_header(block: bytes) -> Member:
    """Parse a 512-byte header; see "ustar Interchange Format" in the specification."""
    if len(block) < BLOCK:
        raise UnfitError("is truncated", _PACK_AGAIN)
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if checksum != _number(block[148:156]):
        raise UnfitError("is not a tar archive, or is damaged: a header's checksum is wrong", _PACK_AGAIN)
    name, kind = block[:100].split(b"\0")[0], block[156:157]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    size = 0 if kind in _WITHOUT_DATA else _number(block[124:136])
    return Member(prefix + b"/" + name if prefix else name, kind, size)


def _number(field: bytes) -> int:
    """Parse an octal number, or a binary one if the first bit is set (GNU tar, for 8 GiB and more)."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0")[0].strip()
    if not _OCTAL.fullmatch(text):
        raise UnfitError(
            "is not a tar archive, or is damaged: a number in a header is malformed", _PACK_AGAIN
        )
    return int(text or b"0", 8)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _parse_header_data(member: Member, reader: Reader) -> dict[str, Any]:
    """The fields of the next member that this header overrides."""
    if member.size > MAX_HEADER_BYTES:
        raise UnfitError(
            f"has a header of {member.size / 2**20:,.0f} MiB",
            f"at most {MAX_HEADER_BYTES // 2**20} MiB; pack it again",
        )
    data = reader.read_exactly(_padded(member.size))[: member.size]
    if member.kind == _LONG_NAME:
        return {"name": data.split(b"\0")[0]}
    if member.kind == _LONG_LINK:
        return {}
    changes = _parse_records(data)
    if changes and member.kind == _GLOBAL:
        raise UnfitError("has one header that renames all its members", "pack it again without it")
    return changes


def _parse_records(data: bytes) -> dict[str, Any]:
    """Parse the records "length key=value\\n" of an extended header; only names, sizes and sparseness matter."""
    changes: dict[str, Any] = {}
    position = 0
    while match := _RECORD.match(data, position):
        end = position + int(match[1])
        value = data[match.end() : end - 1]
        if match[2] == b"path":
            changes["name"] = value
        elif match[2] == b"size" and re.fullmatch(rb"[0-9]{1,20}", value):
            changes["size"] = int(value)
        elif match[2].startswith(b"GNU.sparse."):
            changes["kind"] = b"S"
        if not match.end() < end <= len(data):
            break
        position = end
    if position < len(data):
        raise UnfitError("has a damaged extended header", _PACK_AGAIN)
    return changes
