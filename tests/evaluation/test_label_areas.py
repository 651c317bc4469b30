"""Areas of labels that are not known of all images."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medjax.evaluation.auc import area_interval, class_area
from medjax.evaluation.label_areas import label_areas
from tests.predicted import make_label_predictions


def test_areas_are_of_known_images_and_contribute_in_their_places():
    predictions = make_label_predictions(unknown=0.2)
    labels = predictions.labels.copy()
    labels[:, 2] = np.minimum(labels[:, 2], 0)
    _, second, third = label_areas(predictions._replace(labels=labels))
    assert third is None
    known = labels[:, 1] >= 0
    assert second.value == pytest.approx(roc_auc_score(labels[known, 1], predictions.probabilities[known, 1]))
    assert (second.contributions[~known] == 0).all()
    alone = class_area(labels[known, 1] == 1, predictions.probabilities[known, 1])
    assert area_interval(second) == pytest.approx(area_interval(alone))
