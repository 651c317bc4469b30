"""A matrix of labels: what it may hold, and when it says one class an image."""

import numpy as np
import pytest

from medjax.data.label_matrix import as_matrix, is_one_class_each, require_label_names
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
