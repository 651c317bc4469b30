"""MedMNIST files; what is refused is in test_hostile.py."""

import warnings

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.decoding.image import decode_pixels
from medjax.data.load import load
from medjax.data.reading import npz_arrays
from medjax.errors import RefusedError
from tests.sample_files import medmnist_arrays, random_pixels, write_npz

PLAIN = DataConfig(image_size=8, cache=False)


@pytest.mark.parametrize("shape", [(10, 8), (8, 8, 3), (8, 8)])
@pytest.mark.parametrize("label_shape", [(4,), (4, 1)])
@pytest.mark.parametrize("label_type", [np.uint8, np.int64, ">i2"])
def test_arrays_become_a_data_set(tmp_path, shape, label_shape, label_type):
    arrays = medmnist_arrays(4, shape)
    for part in npz_arrays.PARTS:
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].reshape(label_shape).astype(label_type)
    dataset = load(write_npz(tmp_path / "set.npz", arrays), PLAIN)
    assert dataset.class_names == ("0", "1")
    assert dataset.ids.tolist() == [f"{part}/{i:06}" for part in ("test", "train", "val") for i in range(4)]
    assert dataset.split.tolist() == [id.split("/")[0] for id in dataset.ids]
    assert dataset.labels.tolist() == [0, 1, 0, 1] * 3
    assert dataset.labels.dtype == np.int32
    for position, id in enumerate(dataset.ids):
        part, number = id.split("/")
        pixels = arrays[f"{part}_images"][int(number)]
        expected = decode_pixels(pixels.reshape(*pixels.shape[:2], -1), PLAIN)
        np.testing.assert_array_equal(dataset.images[position], expected.pixels)
        np.testing.assert_array_equal(dataset.digests[position], expected.digest)
    assert dataset.counts.resized == dataset.counts.reshaped == (12 if shape == (10, 8) else 0)
    assert dataset.name == "set"


@pytest.mark.parametrize("label_type", [np.float64, np.float16, np.bool_])
def test_whole_labels_of_other_types_and_one_channel_are_read(tmp_path, label_type):
    plain = medmnist_arrays(4)
    other = {
        name: array[..., None] if name.endswith("_images") else array.astype(label_type)
        for name, array in plain.items()
    }
    first, second = (load(write_npz(tmp_path / "set.npz", each), PLAIN) for each in (plain, other))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.class_names == second.class_names


@pytest.mark.parametrize(
    ("parts", "found"),
    [(("train", "test"), {"train", "test"}), (("train", "val"), {"train", "val"}), (("train",), None)],
)
def test_parts_may_be_missing(tmp_path, parts, found):
    arrays = {name: array for name, array in medmnist_arrays(6).items() if name.startswith(parts)}
    dataset = load(write_npz(tmp_path / "set.npz", arrays), PLAIN)
    assert (dataset.split if found is None else set(dataset.split.tolist())) == found
    assert len(dataset.labels) == 6 * len(parts)


def test_the_file_may_name_its_classes(tmp_path):
    path = write_npz(tmp_path / "set.npz", {**medmnist_arrays(), "class_names": np.array(["no", "yes", "?"])})
    dataset = load(path, PLAIN)
    assert dataset.class_names == ("no", "yes")
    assert dataset.counts.skipped == 0


def test_other_arrays_are_counted_and_not_opened(tmp_path):
    more = {
        "extra_images": random_pixels(0, (2, 4, 4)),
        "objects": np.array([{}], dtype=object),
        "class_names": np.array(["no", "yes"], dtype=object),
    }
    dataset = load(write_npz(tmp_path / "set.npz", {**medmnist_arrays(), **more}), PLAIN)
    assert dataset.class_names == ("0", "1")
    assert dataset.counts.skipped == 3


def test_a_file_that_compresses_too_well_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_arrays, "max_unpacked_bytes", lambda *_: 100)
    path = write_npz(tmp_path / "set.npz", medmnist_arrays())
    with pytest.raises(RefusedError, match=r"unpacks to more .* numpy\.savez, which does not compress"):
        load(path, PLAIN)


def test_classes_sort_as_numbers(tmp_path):
    arrays = medmnist_arrays(6)
    arrays["train_labels"] = np.array([10, 9, 2, 10, 9, 2])
    arrays["val_labels"] = arrays["test_labels"] = np.array([2] * 6)
    dataset = load(write_npz(tmp_path / "set.npz", arrays), PLAIN)
    assert dataset.class_names == ("2", "9", "10")
    assert dataset.labels[dataset.split == "train"].tolist() == [2, 1, 0, 2, 1, 0]


def test_files_are_read_in_pieces(tmp_path, monkeypatch):
    arrays = medmnist_arrays(50)
    whole = load(write_npz(tmp_path / "set.npz", arrays), PLAIN)
    monkeypatch.setattr(npz_arrays, "_CHUNK_BYTES", 300)
    np.testing.assert_array_equal(load(tmp_path / "set.npz", PLAIN).images, whole.images)


def test_images_are_ignored_by_id(tmp_path):
    path = write_npz(tmp_path / "set.npz", medmnist_arrays(4))
    dataset = load(path, DataConfig(image_size=8, cache=False, ignore=("val", "train/000003")))
    assert dataset.ids.tolist() == ["test/000000", "test/000001", "test/000002", "test/000003"] + [
        f"train/{i:06}" for i in range(3)
    ]
    assert dataset.counts.ignored == 5


def test_colors_may_differ_once_one_is_chosen(tmp_path):
    arrays = {**medmnist_arrays(4, (8, 8)), "test_images": random_pixels(9, (4, 8, 8, 3))}
    path = write_npz(tmp_path / "set.npz", arrays)
    gray, rgb = (load(path, DataConfig(image_size=8, color=color, cache=False)) for color in ("gray", "rgb"))
    assert (gray.images.shape[-1], gray.counts.recolored) == (1, 4)
    assert (rgb.images.shape[-1], rgb.counts.recolored) == (3, 8)


@pytest.mark.parametrize("cache", [False, True])
def test_conflicts_are_counted_and_said(tmp_path, cache):
    arrays = medmnist_arrays(4)
    arrays["test_images"][0] = arrays["train_images"][1]
    path = write_npz(tmp_path / "set.npz", arrays)
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 images .* test/000000 = train/000001"):
            dataset = load(path, DataConfig(image_size=8, cache=cache))
        assert dataset.counts.conflicting == 2


def test_progress_ends_with_all(tmp_path):
    calls = []
    path = write_npz(tmp_path / "set.npz", medmnist_arrays(400))
    load(path, PLAIN, on_progress=lambda *call: calls.append(call))
    assert calls == [(1000, 1200), (1200, 1200)]


def test_the_published_file(retinamnist):
    with warnings.catch_warnings(), np.load(retinamnist) as arrays:
        warnings.simplefilter("error")
        dataset = load(retinamnist, DataConfig(cache=False))
        for part, count in (("train", 1080), ("val", 120), ("test", 400)):
            chosen = dataset.split == part
            assert chosen.sum() == count
            np.testing.assert_array_equal(dataset.images[chosen], arrays[f"{part}_images"])
            np.testing.assert_array_equal(dataset.labels[chosen], arrays[f"{part}_labels"][:, 0])
    assert dataset.class_names == tuple("01234")


def test_several_labels_an_image(tmp_path):
    """As ChestMNIST has them; one-hot rows are classes as ever."""
    arrays = medmnist_arrays(4)
    rows = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]], np.uint8)
    several = arrays | {f"{part}_labels": rows for part in npz_arrays.PARTS}
    dataset = load(write_npz(tmp_path / "set.npz", several), PLAIN)
    assert dataset.labels.tolist() == rows.tolist() * 3
    assert (dataset.class_names, dataset.has_several_labels) == (("0", "1", "2"), True)
    named = load(write_npz(tmp_path / "set.npz", several | {"class_names": np.array(["a", "b", "c"])}), PLAIN)
    assert named.class_names == ("a", "b", "c")
    one_hot = arrays | {
        f"{part}_labels": np.eye(4, dtype=np.uint8)[[0, 3, 0, 3]] for part in npz_arrays.PARTS
    }
    assert load(write_npz(tmp_path / "set.npz", one_hot), PLAIN).labels.tolist() == [0, 1, 0, 1] * 3


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        ("val", [[1, 0]] * 4, "val_labels: has another number of labels an image"),
        ("test", [[1, 0, 2]] * 4, "test_labels: contain 2"),
        ("train", [[1, 1, 0]] * 4, "label 2: has no train images"),
    ],
)
def test_several_labels_that_do_not_fit_are_refused(tmp_path, part, rows, message):
    arrays = medmnist_arrays(4) | {f"{each}_labels": np.array([[1, 1, 1]] * 4) for each in npz_arrays.PARTS}
    with pytest.raises(RefusedError, match=message):
        load(write_npz(tmp_path / "set.npz", arrays | {f"{part}_labels": np.array(rows)}), PLAIN)
