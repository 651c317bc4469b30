"""Images without labels, from whatever holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data import load as sources
from medjax.data.decoding.image import decode_image
from medjax.data.load import load
from medjax.data.load_images import load_images
from medjax.errors import RefusedError
from tests.sample_files import (
    jpeg,
    png,
    random_pixels,
    write_folder,
    write_npz,
    write_tar,
    write_zip,
)

PLAIN = DataConfig(image_size=6, cache=False)


def test_images_without_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(
        tmp_path / "scans", {"1.png": png(1), "deep/er/2.png": png(2), "README": b"", ".DS_Store": b""}
    )
    write_zip(tmp_path / "more.zip", {"a.png": png(3), "b/c.png": png(4)})
    write_tar(tmp_path / "last.tar.gz", {"d": png(5)})
    (tmp_path / "one").write_bytes(jpeg(6))
    images, ids, *_ = load_images(["one", Path("scans/"), "./more.zip", "last.tar.gz", "scans/1.png"], PLAIN)
    assert ids.tolist() == [
        "one", "scans/1.png", "scans/deep/er/2.png", "./more.zip/a.png", "./more.zip/b/c.png", "last.tar.gz/d",
        "scans/1.png",
    ]  # fmt: skip
    for image, data in zip(images, [jpeg(6), *map(png, range(1, 6)), png(1)], strict=True):
        np.testing.assert_array_equal(image, decode_image(data, PLAIN).pixels)


def test_images_without_labels_are_refused_all_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "scans", {"bad.png": b"bad", "good.png": png(1), "b/notes.txt": b"x"})
    os.mkfifo(tmp_path / "pipe")
    write_npz(tmp_path / "a.npz", {"x": np.zeros(3)})
    with pytest.raises(RefusedError) as refusal:
        load_images(["scans", "missing.png", "pipe", "a.npz"], PLAIN)
    names = [problem.name for problem in refusal.value.problems]
    assert names == ["missing.png", "pipe", "a.npz", "scans/bad.png"]
    assert "--ignore 'scans/bad.png'" in str(refusal.value)
    images, *_ = load_images(["scans"], DataConfig(image_size=6, ignore=("scans/bad.png",), cache=False))
    assert len(images) == 1


def test_images_without_labels_must_agree_in_color(tmp_path):
    paths = [tmp_path / "gray.png", tmp_path / "rgb.png"]
    for path, shape in zip(paths, [(6, 6), (6, 6, 3)], strict=True):
        path.write_bytes(png(1, shape))
    with pytest.raises(RefusedError, match="--color gray"):
        load_images(paths, PLAIN)
    assert load_images(paths, DataConfig(image_size=6, color="rgb"))[0].shape == (2, 6, 6, 3)


def test_images_in_memory_are_decoded_and_resized_as_files_are(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    pixels = random_pixels(1)
    expected = decode_image(png(1), PLAIN).pixels
    images, ids, *_ = load_images([pixels, png(1), tmp_path / "a.png"], PLAIN)
    assert ids.tolist() == ["image 0", "image 1", str(tmp_path / "a.png")]
    assert all(np.array_equal(image, expected) for image in images)
    loaded = load_images([random_pixels(2, (9, 9, 3)), pixels], DataConfig(image_size=6, color="gray"))
    assert loaded.is_recolored.tolist() == [True, False]


def test_images_in_memory_are_refused_together(tmp_path):
    wide = np.zeros((10, 1200), np.uint8)
    with pytest.raises(RefusedError) as refusal:
        load_images([b"noise", wide, tmp_path / "none.png"], DataConfig(image_size=6, max_megapixels=0.01))
    assert {problem.name for problem in refusal.value.problems} == {
        *("image 0", "image 1"),
        str(tmp_path / "none.png"),
    }


def test_what_cannot_be_used_is_left_out_if_a_list_is_given(tmp_path):
    left_out = []
    given = [png(1), b"noise", tmp_path / "none.png", random_pixels(2)]
    images, ids, *_ = load_images(given, PLAIN, left_out=left_out)
    assert (len(images), ids.tolist()) == (2, ["image 0", "image 3"])
    assert {problem.name for problem in left_out} == {"image 1", str(tmp_path / "none.png")}


def test_the_root_of_the_disk_is_never_walked(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "list_folder", lambda *_, **__: pytest.fail("walked"))
    (tmp_path / "link").symlink_to("/")
    for root in ("/", "//", "/tmp/..", tmp_path / "link"):
        with pytest.raises(RefusedError, match="is the root of the file system"):
            load_images(root, PLAIN)
        with pytest.raises(RefusedError, match="is the root of the file system"):
            load(root, PLAIN)


def test_no_images_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match="no images"):
        load_images([tmp_path / "empty"], PLAIN)
