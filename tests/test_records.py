import subprocess
import sys

import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.evaluation.label_scores import score_labels
from medjax.evaluation.label_thresholds import choose_thresholds
from medjax.records import Predictions, Split, concatenate_predictions, require_split
from tests.predicted import make_label_predictions, make_predictions


def test_records_and_data_do_not_load_jax():
    # Reading images, refusing them and the worker processes should not wait for JAX.
    code = "import sys, medjax.records, medjax.config, medjax.data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def without_labels(predictions):
    return predictions._replace(labels=None, losses=None)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one is None) == (other is None)


@pytest.mark.parametrize("rows", [np.array([7, 2, 2]), np.arange(200) % 3 == 0, slice(5, 9)])
def test_rows_are_taken_from_every_array(rows):
    predictions = make_predictions()._replace(class_names=("a", "b", "c"))
    taken = predictions.take(rows)
    for name in ("indices", "labels", "probabilities", "losses"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(predictions, name)[rows])
    assert taken.class_names == ("a", "b", "c")
    bare = without_labels(predictions).take(rows)
    assert (bare.labels, bare.losses) == (None, None)
    np.testing.assert_array_equal(bare.probabilities, taken.probabilities)


def test_parts_that_are_concatenated_are_the_whole_again():
    whole = make_predictions()._replace(class_names=("a", "b", "c"))
    for each in (whole, without_labels(whole)):
        parts = [each.take(slice(0, 50)), each.take(slice(50, 50)), each.take(slice(50, None))]
        assert_same(concatenate_predictions(parts), each)


def test_predictions_that_differ_in_kind_are_not_concatenated():
    whole = make_predictions()
    with pytest.raises(RefusedError, match="of different classes"):
        concatenate_predictions([whole, whole._replace(class_names=("a", "b", "c"))])
    with pytest.raises(RefusedError, match="have labels in some parts only"):
        concatenate_predictions([whole, without_labels(whole)])


def test_thresholds_may_be_of_all_rows():
    whole = make_label_predictions(n=40)
    whole = whole._replace(thresholds=choose_thresholds(whole))
    assert whole.thresholds.shape == (3,)
    assert score_labels(whole, resamples=0).per_class["label 1"].threshold == whole.thresholds[1]
    parts = [whole.take(slice(0, 10)), whole.take(np.arange(10, 40))]
    together = concatenate_predictions(parts)
    np.testing.assert_array_equal(together.thresholds, np.tile(whole.thresholds, (40, 1)))
    np.testing.assert_array_equal(together.decisions, whole.decisions)
    assert concatenate_predictions([whole, parts[0]]).thresholds.shape == (50, 3)


def test_predictions_need_no_class_names():
    fields = ("indices", "labels", "probabilities", "losses", "class_names", "thresholds")
    assert Predictions._fields == fields
    assert make_predictions().class_names is None


def test_a_users_split_may_be_of_lists_and_is_sorted():
    checked = require_split(([3, 1], np.array([], np.uint8), np.array([2], np.uint16)), 5)
    assert [part.tolist() for part in checked] == [[1, 3], [], [2]]
    assert {part.dtype for part in checked} == {np.dtype(np.int64)}
    drawn = Split(np.arange(3), np.array([4]), np.array([3, 5]))
    assert all(np.array_equal(mine, its) for mine, its in zip(require_split(drawn, 6), drawn, strict=True))


@pytest.mark.parametrize(
    ("split", "line"),
    [
        (([], [0], [1]), "split: has no train images"),
        (([0, 1], [1], [2]), "split: has 1 image in both train and val, such as 1"),
        (([0, 1], [], [2, 1]), "split: has 1 image in both train and test, such as 1"),
        (([0], [1, 2], [2]), "split: has 1 image in both val and test, such as 2"),
        (([0, 0], [1], [2]), r"split\.train: contains the index 0 twice"),
        (([0], [-1], [2]), r"split\.val: contains the index -1 \(0 to 4\)"),
        (([0], [1], [5]), r"split\.test: contains the index 5 \(0 to 4\)"),
        (([0.0], [1], [2]), r"split\.train: contains values of type float64"),
        (
            ([True] * 5, [1], [2]),
            r"split\.train: contains values of type bool \(give indices: np\.flatnonzero",
        ),
        (([[0]], [1], [2]), r"split\.train: has shape \(1, 1\)"),
        (([0], [1]), "split: has 2 parts"),
    ],
)
def test_a_users_split_that_leaks_or_leads_nowhere_is_refused(split, line):
    with pytest.raises(RefusedError, match=f"^{line}"):
        require_split(split, 5)


def test_a_data_set_is_shown_in_a_line():
    from tests.tiny import make_images

    images, labels = make_images(12)
    import medjax

    data = medjax.make_dataset(images, labels, name="stripes")
    assert repr(data) == "Dataset('stripes', 12 images of 8 x 8 x 1, 2 classes)"
    assert data.num_classes == 2
