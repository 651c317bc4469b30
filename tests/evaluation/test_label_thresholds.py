"""Thresholds against a search over all of them."""

import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.evaluation.label_thresholds import choose_thresholds
from tests.predicted import make_label_predictions, make_predictions


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_has_a_larger_sum_of_sensitivity_and_specificity(seed):
    predictions = make_label_predictions(seed, n=80, unknown=0.1)
    predictions = predictions._replace(probabilities=predictions.probabilities.round(1).astype(np.float32))
    thresholds = choose_thresholds(predictions)
    for label, threshold in enumerate(thresholds):
        known = predictions.labels[:, label] >= 0
        positive, scores = predictions.labels[known, label] == 1, predictions.probabilities[known, label]

        def index(at, positive=positive, scores=scores):
            return (scores[positive] >= at).mean() + (scores[~positive] < at).mean()

        assert index(threshold) == pytest.approx(max(map(index, [*scores, 2.0])))
        assert not np.isin(threshold, scores)  # between two of them


def test_where_all_images_or_none_have_a_label_it_is_one_half():
    predictions = make_label_predictions(n=10)
    labels = predictions.labels.copy()
    labels[:, 0], labels[:, 1] = 0, -1
    assert choose_thresholds(predictions._replace(labels=labels))[:2].tolist() == [0.5, 0.5]


def test_predictions_of_one_class_an_image_are_refused():
    one_class = make_predictions(n=10)
    for wrong in (one_class, one_class._replace(labels=None)):
        with pytest.raises(RefusedError, match="predictions: have no matrix of labels"):
            choose_thresholds(wrong)
