"""Labels of a table in a data set, whatever the cache holds; the layouts of published sets are in test_layouts.py."""

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data import load as sources
from medjax.data.load import fingerprint, load
from medjax.data.splitting.splits import split
from medjax.errors import RefusedError
from tests.sample_files import medmnist_arrays, png, small_set, write_folder, write_npz, write_tar, write_zip

TREE = {f"images/{number}.png": png(number) for number in range(8)}
TABLE = {"image": [*map(str, range(8))], "label": ["u", "v"] * 4}


def config(**settings):
    return DataConfig(image_size=6, **settings)


def same(first, second):
    arrays = [name for name in first._fields if isinstance(getattr(first, name), np.ndarray)]
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_table_labels_as_folders_do(tmp_path, kind):
    tree = small_set(4)
    source = {
        "folder": lambda: write_folder(tmp_path / "set", tree),
        "zip": lambda: write_zip(tmp_path / "set.zip", tree),
        "tar": lambda: write_tar(tmp_path / "set.tar.gz", {f"wrap/{name}": data for name, data in tree.items()}),
    }[kind]()  # fmt: skip
    table = {"path": [*tree], "class": [name.split("/")[0] for name in tree]}
    same(load(source, config()), load(source, config(), labels=table))


def test_the_cache_holds_images_and_no_labels(tmp_path, monkeypatch):
    source = write_folder(tmp_path / "set", TREE)
    first = load(source, config(), labels=TABLE)
    monkeypatch.setattr(sources, "decode_listing", None)  # from here on nothing is decoded
    same(first, load(source, config(), labels=TABLE))
    other = load(source, config(), labels={**TABLE, "label": ["w"] * 4 + ["u"] * 4, "patient": [1, 2] * 4})
    assert other.class_names == ("u", "w")
    assert other.labels.tolist() == [1] * 4 + [0] * 4
    assert other.groups.tolist() == ["1", "2"] * 4
    assert np.array_equal(first.images, other.images)
    with pytest.raises(TypeError):  # other images
        load(source, config(allow_missing=True), labels={"image": ["0", "1"], "label": ["u", "v"]})


def test_files_and_settings_say_what_arguments_say(tmp_path):
    source = write_folder(tmp_path / "set", TREE)
    path = tmp_path / "labels.csv"
    path.write_text("image;label\n" + "".join(f"{n}.png;{'uv'[n % 2]}\n" for n in range(8)))
    by_path, by_setting = load(source, config(), labels=path), load(source, config(labels=str(path)))
    same(by_path, by_setting)
    same(by_path, load(source, config(), labels=TABLE))
    assert by_path.table == by_setting.table
    assert (by_path.table.name, by_path.table.rows) == ("labels.csv", 8)


def test_groups_parts_and_folds_come_with_the_labels(tmp_path):
    source = write_folder(tmp_path / "set", TREE)
    parts = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    dataset = load(source, config(), labels={**TABLE, "patient": [*"PPQQRRSS"], "split": parts})
    assert dataset.split.tolist() == parts
    assert dataset.groups.tolist() == [*"PPQQRRSS"]
    assert dataset.grouped_by == ("user",)
    folds = load(source, config(), labels={**TABLE, "fold": [1, 1, 2, 2, 1, 1, 2, 2]})
    assert folds.split is None
    assert folds.folds.tolist() == [*"11221122"]


def test_a_class_without_images_to_train_on_is_refused(tmp_path):
    source = write_folder(tmp_path / "set", TREE)
    parts = ["train", "test"] * 4
    with pytest.raises(RefusedError, match="class v: has no train images in column split of labels"):
        load(source, config(), labels={**TABLE, "split": parts})
    with pytest.raises(
        RefusedError, match="class u: has no train images in column fold of labels beside fold 0"
    ):
        load(source, config(), labels={**TABLE, "fold": [0, 1] * 4})


def test_identical_images_with_two_labels_are_refused_with_the_table(tmp_path):
    source = write_folder(tmp_path / "set", {**TREE, "images/7.png": TREE["images/0.png"]})
    with pytest.raises(RefusedError, match=r"images/7\.png: has the same pixels as images/0\.png .* v and u"):
        load(source, config(), labels=TABLE)


def test_damaged_images_are_left_out_with_their_rows(tmp_path):
    source = write_folder(tmp_path / "set", {**TREE, "images/3.png": b"no image"})
    skipping = config(skip_bad=True, max_bad=0.5)
    with pytest.warns(UserWarning, match="1 of 8 images cannot be used"):
        dataset = load(source, skipping, labels={**TABLE, "patient": [*range(8)]})
    assert len(dataset.labels) == len(dataset.groups) == 7
    with pytest.raises(RefusedError, match="w: has no image left"):
        load(source, skipping, labels={**TABLE, "label": [*"uuuwvvvv"]})


def test_rows_that_name_other_folders_are_warned_of(tmp_path):
    source = write_folder(tmp_path / "set", TREE)
    with pytest.warns(UserWarning, match="labels: 8 rows name other folders .*: scans/0 for images/0.png"):
        load(source, config(), labels={**TABLE, "image": [f"scans/{n}" for n in range(8)]})


def test_sources_with_labels_of_their_own_take_no_table(tmp_path):
    for source in ("phantom", write_npz(tmp_path / "set.npz", medmnist_arrays())):
        with pytest.raises(RefusedError, match=r"--labels: .* has labels of its own"):
            load(source, config(), labels=TABLE)


@pytest.mark.slow
def test_medical_mnist_by_a_table_of_a_million_rows_is_the_same_to_the_last_bit(medical_mnist, tmp_path):
    folders = load(medical_mnist)
    ids = folders.ids.tolist()
    path = tmp_path / "labels.csv"
    with path.open("w") as file:
        file.write("patient_age,filename,class\n")
        for id in reversed(ids):
            file.write(f"55,/data/medical/{id},{id.split('/')[0]}\n")
        for number in range(1_000_000 - len(ids)):
            file.write(f"55,other/{number:07}.jpeg,{number % 6}\n")
    by_table = load(medical_mnist, DataConfig(allow_missing=True), labels=path)
    same(folders, by_table)
    assert folders.class_names == by_table.class_names
    for part, other in zip(split(folders, seed=3), split(by_table, seed=3), strict=True):
        assert np.array_equal(part, other)
    assert by_table.table.rows_without_image == 1_000_000 - len(ids)
