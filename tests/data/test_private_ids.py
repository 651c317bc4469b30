"""The key of private names: made once, kept for its user alone."""

import os

import pytest

from medjax.data.private_ids import _read_key, private_key, private_name_of
from medjax.errors import RefusedError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_KEY_DIR", str(tmp_path / "key"))
    return tmp_path / "key"


def test_a_key_is_made_once_and_for_one_user(folder):
    key = private_key()
    _read_key.cache_clear()
    assert private_key() == key
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0
    names = [private_name_of("A7"), private_name_of("A8")]
    assert private_name_of("A7") == names[0] != names[1]
    next(folder.iterdir()).unlink()
    _read_key.cache_clear()
    assert private_name_of("A7") not in names


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_key_that_others_may_read_is_refused(folder):
    private_key()
    (path,) = folder.iterdir()
    _read_key.cache_clear()
    path.chmod(0o644)
    with pytest.raises(RefusedError, match="can be read by others"):
        private_key()
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(RefusedError, match="is no key"):
        private_key()


def test_a_folder_that_cannot_be_is_refused(folder):
    folder.write_bytes(b"")
    with pytest.raises(RefusedError, match="MEDJAX_KEY_DIR"):
        private_key()
