"""Tar archives as listings, against the standard library's writer; what is refused is in test_hostile.py."""

import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.data.reading.names import tidy_name
from medjax.data.reading.tar import open_tar
from tests.sample_files import small_set, tar_bytes, tar_member, write_tar

NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0/\\:"), min_size=1, max_size=70).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=5,
).map("/".join)


def read_all(path):
    """Names and bytes of all files of an archive."""
    with open_tar(path) as listing:
        names = {entry.key: entry.name for entry in listing.entries if not entry.is_folder}
        assert all(entry.fault is None for entry in listing.entries)
        return {names[key]: data for key, data in listing.read(names)}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz"])
def test_members_are_read_in_place(tmp_path, suffix):
    path = write_tar(tmp_path / f"set{suffix}", small_set())
    assert read_all(path) == small_set()
    with open_tar(path) as listing:
        assert [entry.name for entry in listing.entries if entry.is_folder] == ["cat", "dog"]
        assert [key for key, _ in listing.read([5, 2])] == [2, 5]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(tree=st.dictionaries(NAMES, st.binary(max_size=1500), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_agrees_with_the_standard_library(tmp_path_factory, kind, tree):
    path = tmp_path_factory.mktemp("tars") / "set.tar"
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            try:
                archive.addfile(info, io.BytesIO(data))
            except ValueError:  # too long a name for USTAR
                return
    with open_tar(path) as listing:
        assert [entry.name for entry in listing.entries] == [tidy_name(name)[0] for name in tree]
        assert [data for _, data in listing.read(range(len(tree)))] == list(tree.values())


def test_extended_and_global_headers(tmp_path):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "from git"}) as archive:
        info = tarfile.TarInfo("cat/" + "x" * 300)
        info.size, info.pax_headers = 3, {"mtime": "1.5", "size": "3", "SCHILY.xattr.user.a": "b=c"}
        archive.addfile(info, io.BytesIO(b"abc"))
    assert read_all(path) == {"cat/" + "x" * 300: b"abc"}


def test_the_packed_folder_itself_is_no_entry(tmp_path):
    path = tmp_path / "set.tar"
    path.write_bytes(tar_bytes({}, tar_member("./", kind=tarfile.DIRTYPE), tar_member("./cat/1.png", b"x")))
    with open_tar(path) as listing:
        assert [entry.name for entry in listing.entries] == ["cat/1.png"]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("padding", [b"", bytes(512)])
def test_streams_may_follow_one_another_and_be_padded(tmp_path, compress, padding):
    data = tar_bytes(small_set())
    path = tmp_path / "set.tar.gz"
    path.write_bytes(b"".join(compress(data[i : i + 700]) + padding for i in range(0, len(data), 700)))
    assert read_all(path) == small_set()


def test_sizes_in_base_256(tmp_path):
    header = bytearray(tar_member("cat/1.png", b"abc"))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "set.tar").write_bytes(bytes(header) + bytes(1024))
    assert read_all(tmp_path / "set.tar") == {"cat/1.png": b"abc"}
