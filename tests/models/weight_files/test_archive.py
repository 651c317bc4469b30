import io
import zipfile

import pytest

from medjax.models.weight_files.archive import Archive
from medjax.models.weight_files.tensors import UnfitError


def pack(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_members_are_read_by_name():
    members = {"a": b"one", "b/c": b"two" * 1000}
    archive = Archive(pack(members, zipfile.ZIP_DEFLATED))
    assert {name: archive.read(name) for name in archive.members} == members
    assert not archive.is_stored("b/c")
    assert Archive(pack(members)).is_stored("b/c")


def test_the_members_are_counted_before_zipfile_reads_them(monkeypatch):
    monkeypatch.setattr("medjax.models.weight_files.archive._MAX_MEMBERS", 2)
    three = pack({"a": b"", "b": b"", "c": b""})
    assert len(Archive(pack({"a": b"", "b": b""})).members) == 2
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(UnfitError, match="more than 2 members"):
        Archive(three)


def test_a_member_unpacks_to_no_more_than_its_limit(monkeypatch):
    archive = Archive(pack({"a": bytes(1000)}, zipfile.ZIP_DEFLATED))
    monkeypatch.setattr("medjax.models.weight_files.archive.MAX_BYTES", 999)
    with pytest.raises(UnfitError, match="unpack to more"):
        archive.read("a")
