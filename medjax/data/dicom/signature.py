"""Which bytes are a DICOM file, and which of its frames is meant."""

PREAMBLE, MAGIC = 128, b"DICM"
LONG_TYPES = frozenset(
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"]
)
SHORT_TYPES = frozenset(
    [
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    ]
)
"""Types of values (VR) whose lengths have 32 bits, and those of 16 bits; PS3.5, 7.1.2."""
_MARK = b"frame of DICOM: "
_MARK_DIGITS = 10


def is_dicom(data: bytes) -> bool:
    """Whether these are the bytes of a DICOM file, by its content; some have no preamble."""
    if data.startswith(_MARK):
        return True
    if data[PREAMBLE : PREAMBLE + 4] == MAGIC:
        return True
    return data[:2] in (b"\x02\0", b"\x08\0", b"\0\x08") and _first_element_fits(data)


def _first_element_fits(data: bytes) -> bool:
    """Whether the file begins with an element of group 2 or 8 whose length is that of a short value."""
    if len(data) < 16 or data[2:4] not in (
        b"\0\0",
        b"\x01\0",
        b"\x05\0",
        b"\x08\0",
        b"\x16\0",
        b"\0\x08",
        b"\0\x05",
    ):
        return False
    if data[4:6] in SHORT_TYPES | LONG_TYPES:
        return True
    return data[0] in (2, 8) and 0 < int.from_bytes(data[4:8], "little") <= 64


def mark_frame(data: bytes, frame: int) -> bytes:
    """The bytes of a file with the number of one of its frames in front, which `split_mark` takes off again."""
    return _MARK + str(frame).zfill(_MARK_DIGITS).encode() + data


def split_mark(data: bytes) -> tuple[int | None, bytes]:
    """The number of the frame that is meant, None where it is not said, and the bytes of the file."""
    end = len(_MARK) + _MARK_DIGITS
    number = data[len(_MARK) : end]
    is_marked = data.startswith(_MARK) and len(number) == _MARK_DIGITS and number.isdigit()
    return (int(number), data[end:]) if is_marked else (None, data)
