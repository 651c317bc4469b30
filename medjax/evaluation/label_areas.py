"""Areas under the ROC curves of several labels, each over the images of which it is known."""

import numpy as np
from jaxtyping import Int

from medjax.evaluation.auc import Area, class_area
from medjax.records import Predictions


def label_areas(predictions: Predictions, clusters: Int[np.ndarray, "m"] | None = None) -> list[Area | None]:
    """The area of each label, None if all images of which it is known, or none of them, have it.

    `clusters` are those of `class_area`. An image of which a label is not known contributes 0, so that areas of other labels can be averaged with it.
    """
    areas: list[Area | None] = []
    for label, known in enumerate((predictions.labels >= 0).T):
        is_positive = predictions.labels[known, label] == 1
        area = class_area(
            is_positive,
            predictions.probabilities[known, label],
            None if clusters is None else clusters[known],
        )
        if area is not None:
            contributions = np.zeros(len(known))
            contributions[known] = area.contributions
            area = area._replace(contributions=contributions)
        areas.append(area)
    return areas
