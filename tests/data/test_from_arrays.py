"""Data sets from a user's own arrays: what is taken as it is, and what is refused in one sentence."""

import numpy as np
import pytest

import medjax
from medjax.config import DataConfig
from medjax.data.from_arrays import make_dataset
from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.errors import RefusedError
from tests.sample_files import encode, random_pixels, write_folder

N = 6
IMAGES = random_pixels(0, (N, 10, 8, 3))
LABELS = np.array([0, 1, 2, 0, 1, 2])


def line_of(*arguments, **options):
    """The one line of the refusal."""
    with pytest.raises(RefusedError) as refusal:
        make_dataset(*arguments, **options)
    (line,) = refusal.value.lines()
    return line


def test_arrays_become_a_data_set_in_their_order():
    dataset = make_dataset(IMAGES, LABELS, ["a", "b", "c"], name="mine")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.ids.tolist() == ["000000", "000001", "000002", "000003", "000004", "000005"]
    assert (dataset.split, dataset.groups, dataset.grouped_by, dataset.name) == (None, None, (), "mine")
    assert medjax.make_dataset is make_dataset


def test_the_same_pixels_have_the_digests_that_load_gives_them(tmp_path):
    pixels = random_pixels(3, (4, 28, 28))
    tree = {f"{'ab'[i % 2]}/{i}.png": encode(image) for i, image in enumerate(pixels)}
    loaded = load(write_folder(tmp_path / "set", tree), DataConfig(cache=False))
    made = make_dataset(loaded.images, loaded.labels, loaded.class_names, ids=loaded.ids)
    np.testing.assert_array_equal(made.digests, loaded.digests)
    assert (made.images.shape, made.labels.dtype) == (loaded.images.shape, loaded.labels.dtype)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        LABELS.astype(np.uint8),
        LABELS.astype(np.int64)[:, None],
        LABELS.astype(np.float32),
        [[0], [1.0], [2], [0], [1], [2]],
    ],
    ids=["list", "uint8", "column", "whole floats", "nested list"],
)
def test_whole_numbers_of_any_kind_are_labels(labels):
    dataset = make_dataset(IMAGES, labels)
    assert dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == LABELS.tolist()
    assert dataset.class_names == ("0", "1", "2")


def test_jax_arrays_and_booleans_are_accepted():
    import jax.numpy as jnp

    dataset = make_dataset(jnp.asarray(IMAGES), jnp.asarray(LABELS % 2 == 0))
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert isinstance(dataset.images, np.ndarray)
    assert dataset.labels.tolist() == [1, 0, 1, 1, 0, 1]


def test_images_without_a_channel_axis_are_gray():
    dataset = make_dataset(IMAGES[..., 0], LABELS)
    np.testing.assert_array_equal(dataset.images, IMAGES[..., :1])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES / 255.0, r"are float64 from 0.0 to 1.0 .*np\.round\(255\.0 \* images\)\.astype\(np\.uint8\)"),
        (IMAGES.astype(np.float32), r"are float32 from 0.0 to 255.0 .*scale them to 0 to 255"),
        (IMAGES / 127.5 - 1, r"are float64 from -1.0 to 1.0 .*scale them"),
        (IMAGES > 9, r"are bool from False to True .*255\.0 \* images"),
        (IMAGES.astype(int), r"are int64 from 0 to 255 .*such as images\.astype\(np\.uint8\)"),
        (IMAGES.astype(np.uint16) * 16, r"are uint16 from 0 to 4080 .*scale them"),
        (IMAGES.astype(str), r"are of type <U3 "),
        (IMAGES[0, 0], r"have shape \(8, 3\) \(give \(n, height, width\) for gray"),
        (np.zeros((N, 10, 8, 4), np.uint8), r"have shape \(6, 10, 8, 4\), so 4 channels \(give .* 1 or 3 channels"),
        (np.moveaxis(IMAGES, -1, 1), r"have shape \(6, 3, 10, 8\), so 8 channels \(put channels last: np\.moveaxis\(images, 1, -1\)"),
        (IMAGES[:, :0], r"are empty: shape \(6, 0, 8, 3\)"),
        (IMAGES[:0], r"are empty"),
        ([IMAGES[0].tolist(), IMAGES[1, 1:].tolist()], r"do not have one common shape"),
    ],
)  # fmt: skip
def test_other_images_are_refused(images, words):
    with pytest.raises(RefusedError, match=f"^images: {words}"):
        make_dataset(images, LABELS)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 1, r"contain 3, but no 0 \(number the classes from 0 to 2, such as labels - 1\)"),
        (LABELS * 2, r"contain 4, but no 1 \(number the classes from 0 to 2\)"),
        (LABELS - 1, r"contain -1 \(give whole numbers from 0\)"),
        (LABELS + 0.5, r"contain 0.5 "),
        (np.array([0, 1, np.nan, 0, 1, 2]), r"contain nan "),
        (np.array([0, 1, np.inf, 0, 1, 2]), r"contain inf "),
        (np.array([0, 1, 2**40, 0, 1, 2]), r"contain 1099511627776 "),
        (LABELS[:4], r"are 4 for 6 images"),
        ([*LABELS, 0], r"are 7 for 6 images"),
        (np.eye(3)[LABELS], r"have shape \(6, 3\) .*one-hot rows, labels\.argmax\(axis=1\)"),
        (np.array(3), r"have shape \(\) "),
        (["cat"] * N, r"are of type <U3, not numbers \(number them: class_names, labels = np\.unique"),
        ([0, [1], 2, 0, 1, 2], r"do not have one common shape"),
        (np.zeros(N, int), r"contain only one class"),
    ],
)
def test_other_labels_are_refused(labels, words):
    with pytest.raises(RefusedError, match=f"^labels: {words}"):
        make_dataset(IMAGES, labels)


def test_class_names_must_cover_the_labels_but_may_be_more():
    assert make_dataset(IMAGES, LABELS, ["a", "b", "c", "rare"]).class_names == ("a", "b", "c", "rare")
    line = line_of(IMAGES, LABELS + 1, ["a", "b", "c"])
    assert line.startswith(
        "labels: contain 3, but there are 3 class names (number the classes from 0 to 2, such as"
    )
    assert "labels - 1" in line
    assert line_of(IMAGES, np.zeros(N), ["a"]).startswith("class_names: contain only one class")
    assert line_of(IMAGES, LABELS, ["a", "b", "a"]).startswith("class_names: name a twice")
    assert line_of(IMAGES, LABELS, ["a", "=b", "c"]).startswith("class '=b': is a class that spreadsheets")
    assert line_of(IMAGES, LABELS, ["a", "", "c"]).startswith("class_names: are empty for class 1")


def test_groups_are_kept_and_joined_with_identical_images():
    images = IMAGES.copy()
    images[3] = images[0]
    dataset = make_dataset(images, LABELS)
    assert dataset.groups.tolist() == ["000000", "000001", "000002", "000000", "000004", "000005"]
    assert dataset.grouped_by == ("exact",)
    assert make_dataset(images, LABELS, group_duplicates="none").groups is None
    patients = make_dataset(images, LABELS, groups=[7, 7, 8, 9, 9, 9])
    assert patients.groups.tolist() == ["7", "7", "8", "7", "7", "7"]
    assert patients.grouped_by == ("user", "exact")
    alone = make_dataset(images, LABELS, groups=[7, 7, 8, 9, 9, 9], group_duplicates="none")
    assert alone.groups.tolist() == ["7", "7", "8", "9", "9", "9"]


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_an_image_without_a_group_is_refused(missing):
    assert line_of(IMAGES, LABELS, groups=["a", missing, *"abcd"]).startswith(
        "groups: 1 of 6 images has none"
    )


def test_identical_images_under_two_labels_are_counted_in_a_warning():
    images = IMAGES.copy()
    images[1] = images[0]
    with pytest.warns(UserWarning, match=r"mine: 2 images have the same pixels .* x0 = x1"):
        dataset = make_dataset(images, LABELS, ids=[f"x{i}" for i in range(N)], name="mine")
    assert dataset.counts.conflicting == 2


def test_ids_are_unique_and_one_for_each_image():
    assert make_dataset(IMAGES, LABELS, ids=range(N)).ids.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert line_of(IMAGES, LABELS, ids="abc").startswith("ids: are 3 for 6 images")
    assert line_of(IMAGES, LABELS, ids="abcdea").startswith("ids: contain a twice")
    assert line_of(IMAGES, LABELS, ids=["a", "", *"bcde"]).startswith("ids: are empty for image 1")


@pytest.mark.parametrize("name", ["scan\0", "scan\udcff"])
@pytest.mark.parametrize("field", ["ids", "groups"])
def test_names_that_no_file_gives_back_are_refused(field, name):
    line = line_of(IMAGES, LABELS, **{field: [*"abcde", name]})
    assert line.startswith(f"{field}: contain 'scan\\")


@pytest.mark.parametrize("name", ["a\rb", "a\udcff", "=a"])
def test_class_names_that_would_mislead_are_refused(name):
    assert line_of(IMAGES, LABELS, ["a", "b", name]).startswith("class '")


def test_official_parts_are_kept_by_split():
    parts = ["train", "train", "train", "test", "val", "test"]
    dataset = make_dataset(IMAGES, LABELS, split=parts)
    assert [part.tolist() for part in splits.split(dataset)] == [[0, 1, 2], [4], [3, 5]]


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (["train"] * 5 + ["holdout"], "split: contains holdout"),
        (["train"] * 6, "split: has no test or val images"),
        (["train"] * 5, "split: are 5 for 6 images"),
        (["train", "train", "test"] * 2, "class 2: has no train images in split"),
    ],
)
def test_other_official_parts_are_refused(parts, line):
    assert line_of(IMAGES, LABELS, split=parts).startswith(line)


def test_a_matrix_is_several_labels_an_image():
    matrix = [[1, 0], [0, np.nan], [1, 1], [0, 0], [-1, 1], [1, 0]]
    dataset = make_dataset(IMAGES, matrix, ["left", "right"])
    assert dataset.labels.tolist() == [[1, 0], [0, -1], [1, 1], [0, 0], [-1, 1], [1, 0]]
    assert repr(dataset).endswith(", 2 labels)")
    assert make_dataset(IMAGES, matrix).class_names == ("0", "1")
    with pytest.raises(RefusedError, match="2 columns for 3 class names"):
        make_dataset(IMAGES, matrix, ["left", "right", "both"])
    with pytest.raises(RefusedError, match=r"contain 0\.5"):
        make_dataset(IMAGES, np.full((6, 2), 0.5))
