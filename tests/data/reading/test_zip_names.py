"""Names in zips of all sorts of programs."""

import struct
import warnings
import zipfile
import zlib

import pytest

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.data.load_images import load_images
from medjax.data.reading.listing import Fault
from medjax.data.reading.zip import open_zip
from medjax.data.reading.zip_names import member_names
from medjax.errors import RefusedError
from tests.sample_files import png

CHINESE = ("\u80ba\u708e", "\u6b63\u5e38")


def unicode_path(raw, name, version=1):
    data = struct.pack("<BL", version, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


def member(raw, flags=0, extra=b"", system=0):
    """A member as zipfile reads it from the table of an archive."""
    info = zipfile.ZipInfo(raw.decode("utf-8" if flags else "cp437"))
    info.flag_bits, info.extra, info.create_system = flags, extra, system
    return info


def write_raw(path, tree):
    """A zip whose names are these bytes, without the UTF-8 flag."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (raw, data) in enumerate(tree.items()):
            archive.writestr(f"#{number}".ljust(len(raw), "#"), data)
    content = path.read_bytes()
    for number, raw in enumerate(tree):
        content = content.replace(f"#{number}".ljust(len(raw), "#").encode(), raw)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("raw", [b"cat/1.png", b""])
def test_plain_names_are_not_touched(raw):
    assert member_names([member(raw)], "gbk") == ([raw.decode()], set())


def test_the_flag_is_believed():
    name = "\u00e9/1.png"
    assert member_names([member(name.encode(), 0x800)], "gbk") == ([name], set())


def test_names_that_all_can_be_utf8_are():
    """As macOS writes them."""
    names = ["\u00e9/1.png", "\u80ba/1.png", "cat/2.png"]
    assert member_names([member(name.encode()) for name in names]) == (names, set())


def test_one_name_that_cannot_be_utf8_decides_for_all():
    """Bytes of another encoding may happen to be UTF-8: those of a well-known Chinese name, for example."""
    names = ["\u8054\u901a/1.png", "\u6b63\u5e38/1.png"]
    members = [member(name.encode("gbk")) for name in names]
    assert member_names(members, "gbk") == (names, set())
    assert member_names(members)[1] == {0, 1}


def test_names_of_an_unknown_encoding_are_read_as_specified():
    names, guessed = member_names([member("gr\u00f6\u00dfe".encode("cp437")), member(b"cat")])
    assert (names, guessed) == (["gr\u00f6\u00dfe", "cat"], {0})


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("gbk", CHINESE[0]), ("shift_jis", "\u8868\u5341"), ("cp1251", "\u043d\u043e\u0440\u043c\u0430")],
)
def test_an_encoding_that_is_given_is_used(encoding, name):
    """Of the Japanese name, a byte is that of a backslash."""
    assert member_names([member(name.encode(encoding))], encoding) == ([name], set())


def test_a_name_that_is_not_in_the_given_encoding_is_a_fault():
    (found,), _ = member_names([member(b"\xff\xff.png")], "gbk")
    assert found == Fault("has a name that is not gbk", "choose another --zip-encoding")


@pytest.mark.parametrize("encoding", ["hex", "rot13", "nonsense", "", "a\0b", "undefined"])
def test_only_encodings_of_text_are_taken(encoding):
    with pytest.raises(RefusedError, match=r"--zip-encoding: .* is not an encoding of text"):
        member_names([], encoding)


def test_the_unicode_field_goes_before_all():
    raw = CHINESE[0].encode("gbk")
    other = struct.pack("<HH", 0x5455, 5) + bytes(5)
    assert member_names([member(raw, extra=other + unicode_path(raw, CHINESE[0]))], "cp1251") == (
        [CHINESE[0]],
        set(),
    )


@pytest.mark.parametrize(
    "extra",
    [
        unicode_path(b"another name", CHINESE[0]),
        unicode_path("gr\u00f6\u00dfe".encode("cp437"), CHINESE[0], version=2),
        unicode_path("gr\u00f6\u00dfe".encode("cp437"), CHINESE[0])[:-1],
        struct.pack("<HH", 0x7075, 5) + bytes(5),
        b"\x75\x70\xff",
    ],
)
def test_a_unicode_field_that_does_not_fit_is_no_name(extra):
    assert member_names([member("gr\u00f6\u00dfe".encode("cp437"), extra=extra)])[0] == ["gr\u00f6\u00dfe"]


@pytest.mark.parametrize(("system", "name"), [(0, "cat/1.png"), (10, "cat/1.png"), (3, "cat\\1.png")])
def test_backslashes_separate_only_where_they_do_on_the_system(system, name):
    assert member_names([member(b"cat\\1.png", system=system)])[0] == [name]


@pytest.mark.parametrize("cache", [False, True])
def test_a_guess_is_said_once_each_time_and_an_answer_ends_it(tmp_path, cache):
    tree = {
        f"{name}/{i}.png".encode("gbk"): png(10 * i + j) for i in range(2) for j, name in enumerate(CHINESE)
    }
    path = write_raw(tmp_path / "set.zip", tree)
    for _ in range(2):
        with pytest.warns(UserWarning, match="names of 4 images .* code page 437.* --zip-encoding") as caught:
            assert load(path, DataConfig(cache=cache)).counts.guessed_names == 4
        assert len(caught) == 1
    with pytest.warns(UserWarning, match="--zip-encoding"):
        load_images([path], DataConfig(cache=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load(path, DataConfig(zip_encoding="gbk", cache=cache))
        assert load_images([path], DataConfig(zip_encoding="gbk"))[1][0] == f"{path}/{CHINESE[1]}/0.png"
    assert dataset.class_names == tuple(sorted(CHINESE))
    assert dataset.counts.guessed_names == 0


def test_names_in_utf8_without_the_flag_are_read_in_place(tmp_path):
    path = write_raw(tmp_path / "set.zip", {"cat/\u00e9.png".encode(): b"x"})
    with open_zip(path) as listing:
        assert listing.entries[0].name == "cat/\u00e9.png"
        assert dict(listing.read([0])) == {0: b"x"}
