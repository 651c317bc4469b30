import subprocess
import sys

import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.records import Predictions, concatenate_predictions
from tests.predicted import make_predictions


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


def test_predictions_need_no_class_names():
    assert Predictions._fields == ("indices", "labels", "probabilities", "losses", "class_names")
    assert make_predictions().class_names is None
