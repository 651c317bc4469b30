"""A matrix of labels: what it may hold, and when it says one class an image."""

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.from_arrays import make_dataset
from medjax.data.label_matrix import as_matrix, is_one_class_each, require_label_names
from medjax.data.load import load
from medjax.errors import RefusedError


def test_nan_and_minus_one_are_not_known():
    assert as_matrix([[1.0, np.nan], [0, -1]], "labels").tolist() == [[1, -1], [0, -1]]
    assert as_matrix(np.array([[True, False]]), "labels").dtype == np.int32
    with pytest.raises(RefusedError, match=r"labels: contain 0\.5 \(give 1, 0 and -1"):
        as_matrix([[0.5, 1]], "labels")
    with pytest.raises(RefusedError, match="not numbers"):
        as_matrix([["a", "b"]], "labels")


def test_rows_with_a_single_one_are_classes():
    assert is_one_class_each(np.eye(3, dtype=np.int32))
    for row in ([1, 1, 0], [0, 0, 0], [1, 0, -1]):
        assert not is_one_class_each(np.array([[0, 1, 0], row], np.int32))


def test_a_slip_among_rows_of_one_label_is_told(tmp_path, recwarn):
    """Of arrays and of files, and of a hundredth of the images at most."""
    images = np.random.default_rng(0).integers(256, size=(100, 2, 2), dtype=np.uint8)
    labels = np.eye(4, dtype=np.int32)[np.arange(100) % 4]
    labels[0, 1] = -1
    make_dataset(images, labels)
    labels[:2] = 1
    make_dataset(images, labels)
    assert not recwarn
    labels[1] = 0, 1, 0, 0
    np.savez(tmp_path / "slip.npz", train_images=images, train_labels=labels)
    reason = "1 of 100 images has several labels or none: if that is a mistake"
    with pytest.warns(UserWarning, match=f"^arrays: {reason}"):
        make_dataset(images, labels)
    with pytest.warns(UserWarning, match=f"^slip: {reason}"):
        load(tmp_path / "slip.npz", DataConfig(cache=False))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b|c"], r"table: b\|c: is a label with \|"),
        (["a", "=b"], "spreadsheets"),
        (["a", "a"], "names a twice"),
        (["a", ""], "without a name"),
        (["a"], "only one label"),
    ],
)
def test_names_that_predictions_csv_could_not_hold_are_refused(names, message):
    with pytest.raises(RefusedError, match=message):
        require_label_names(names, "table")
