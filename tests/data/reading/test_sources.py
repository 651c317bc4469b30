"""Paths of sources, and sources opened; refusals of whole sources are in test_hostile.py."""

import os
from pathlib import Path

import pytest

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.data.load_images import load_images
from medjax.data.reading.sources import (
    open_archive,
    open_source,
    open_unlabelled,
    require_source,
    source_name,
    source_suffix,
)
from medjax.errors import RefusedError
from tests.sample_files import png, small_set, write_folder, write_tar, write_zip

CONFIG = DataConfig()


@pytest.mark.parametrize(
    ("name", "suffix", "stem"),
    [
        ("Set.ZIP", ".zip", "Set"),
        ("a.b.tar.gz", ".tar.gz", "a.b"),
        ("x.npz", ".npz", "x"),
        (".zip", ".zip", "data"),
    ],
)
def test_archives_are_named_without_their_suffix(name, suffix, stem):
    assert source_suffix(Path(name)) == suffix
    assert source_name(Path(name)) == stem


def test_other_files_have_no_suffix_and_keep_their_names(tmp_path):
    assert source_suffix(Path("a.png")) == ""
    assert source_name(tmp_path) == tmp_path.name


def test_every_kind_of_source_is_listed_and_read_alike(tmp_path):
    paths = [write_folder(tmp_path / "set", small_set()), write_zip(tmp_path / "set.zip", small_set())]
    paths.append(write_tar(tmp_path / "set.tar.gz", small_set()))
    for path in paths:
        with open_source(path, CONFIG) as listing:
            names = {entry.key: entry.name for entry in listing.entries if not entry.is_folder}
            assert {names[key]: data for key, data in listing.read(names)} == small_set()
    with open_archive(paths[1], CONFIG) as listing:
        assert len(listing.entries) == 4


def test_one_image_is_a_source_without_labels(tmp_path):
    (tmp_path / "scan").write_bytes(png(3))
    with open_unlabelled(str(tmp_path / "scan"), CONFIG) as (listing, layout):
        assert [image.id for image in layout.images] == [str(tmp_path / "scan")]
        assert [data for _, data in listing.read([image.key for image in layout.images])] == [png(3)]
    with pytest.raises(RefusedError, match="scan: is not a kind of file that contains a data set"):
        require_source(tmp_path / "scan")


def test_arrays_with_labels_are_no_images_without(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"x")
    assert require_source(tmp_path / "set.npz") == tmp_path / "set.npz"
    with pytest.raises(RefusedError, match=r"set\.npz: is not a kind of file"):
        require_source(tmp_path / "set.npz", has_labels=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.npz", "image.png"])
@pytest.mark.parametrize("looks", [1, 2])
def test_a_file_that_becomes_a_pipe_is_refused_and_not_waited_for(tmp_path, monkeypatch, name, looks):
    """Whenever that happens after its kind was looked at."""
    path = tmp_path / name
    path.write_bytes(png(1))
    stat, calls = Path.stat, iter(range(99))

    def replaced(self, **options):
        status = stat(self, **options)
        if self == path and next(calls) == looks - 1:
            path.unlink()
            os.mkfifo(path)
        return status

    monkeypatch.setattr(Path, "stat", replaced)
    with pytest.raises(RefusedError, match="not a regular file"):
        load_images([path], CONFIG) if name == "image.png" else load(path, CONFIG)
