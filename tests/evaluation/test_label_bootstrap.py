"""The bootstrap of several labels against one that resamples the predictions themselves."""

import numpy as np
import pytest

from medjax.evaluation.label_bootstrap import bootstrap_labels
from medjax.evaluation.label_scores import score_labels
from tests.predicted import make_label_predictions


def test_intervals_are_those_of_resampled_predictions():
    predictions = make_label_predictions(n=200, shares=(0.5, 0.4, 0.3), unknown=0.1)
    units = np.arange(100).repeat(2)
    found = bootstrap_labels(predictions, units, resamples=1000, seed=0)
    generator = np.random.default_rng(3)
    blocks = []
    for _ in range(300):
        drawn = generator.integers(100, size=100)
        rows = np.stack([2 * drawn, 2 * drawn + 1], axis=1).ravel()
        blocks.append(score_labels(predictions.take(rows), resamples=0).to_json())
    for name in ("average_precision", "balanced_accuracy", "macro_f1", "loss"):
        expected = np.quantile([block[name] for block in blocks], [0.025, 0.975])
        assert found.macro[name] == pytest.approx(expected, abs=0.025), name
    precisions = [block["per_class"]["label 1"]["average_precision"] for block in blocks]
    assert found.average_precision[1] == pytest.approx(np.quantile(precisions, [0.025, 0.975]), abs=0.04)
