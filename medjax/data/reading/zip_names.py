"""The names of a zip's members in Unicode, whatever program packed it.

The format knows two encodings: UTF-8 where a flag says so, else code page 437. In practice, programs without the flag write
UTF-8 (macOS), or the code page of their country (Windows in China, Japan, Korea, Russia); Info-ZIP adds the name in UTF-8 as
an extra field. Format: PKWARE, APPNOTE.TXT, 6.3.10, sections 4.4.17, 4.6.9 and appendix D.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence

from medjax.data.reading.listing import Fault
from medjax.errors import refuse

UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # an extra field: version 1, CRC-32 of the name that it stands for, name in UTF-8
_OF_WINDOWS = (0, 10, 11, 14)  # systems whose programs write backslashes as separators: FAT, NTFS, MVS, VFAT
_SPECIFIED = "cp437"


def member_names(
    members: Sequence[zipfile.ZipInfo], encoding: str | None = None
) -> tuple[list[str | Fault], set[int]]:
    """The name of each member, or what is wrong with it; and the indices of those whose encoding had to be guessed.

    `encoding` is that of names that state none; without it they are UTF-8 if all of them can be, else code page 437, as
    specified. RefusedError if it is not a known encoding of text.
    """
    if encoding is not None:
        _require_encoding(encoding)
    names: list[str | Fault] = [member.orig_filename for member in members]
    raw: dict[int, bytes] = {}  # names that state no encoding
    for index, member in enumerate(members):
        if not (member.orig_filename.isascii() or member.flag_bits & UTF8_FLAG):
            written = member.orig_filename.encode(_SPECIFIED)
            unicode_name = _unicode_path(member.extra, written)
            if unicode_name is None:
                raw[index] = written
            else:
                names[index] = unicode_name
    is_guessed = encoding is None and not all(map(_is_utf8, raw.values()))
    for index, written in raw.items():
        names[index] = _decoded(written, encoding or (_SPECIFIED if is_guessed else "utf-8"))
    for index, name in enumerate(names):
        if isinstance(name, str) and "\\" in name and members[index].create_system in _OF_WINDOWS:
            names[index] = name.replace("\\", "/")
    return names, set(raw) if is_guessed else set()


def _require_encoding(name: str) -> None:
    try:
        b"a".decode(name, "replace")  # unlike `codecs.lookup`, this refuses codecs that are none of text
    except (LookupError, ValueError):  # ValueError: a NUL in the name, or the codec `undefined`
        remedy = "such as gbk, shift_jis, euc_kr, cp1251 or cp850"
        raise refuse("--zip-encoding", f"{name} is not an encoding of text", remedy) from None


def _is_utf8(written: bytes) -> bool:
    try:
        written.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(written: bytes, encoding: str) -> str | Fault:
    try:
        return written.decode(encoding)
    except ValueError:
        return Fault(f"has a name that is not {encoding}", "choose another --zip-encoding")


def _unicode_path(extra: bytes, written: bytes) -> str | None:
    """The name in the Unicode path field, if it stands for the name as written; None without one."""
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, position)
        field = extra[position + 4 : position + 4 + size]
        if kind == _UNICODE_PATH and len(field) == size > 5 and field[0] == 1:
            (checksum,) = struct.unpack_from("<L", field, 1)
            if checksum == zlib.crc32(written) and _is_utf8(field[5:]):
                return field[5:].decode("utf-8")
        position += 4 + size
    return None
