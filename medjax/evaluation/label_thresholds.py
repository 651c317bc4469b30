"""From which probability on a label is predicted: chosen for each label on validation images."""

import numpy as np
from jaxtyping import Bool, Float, Float32

from medjax.errors import refuse
from medjax.records import EVEN_THRESHOLD, Predictions


def choose_thresholds(predictions: Predictions) -> Float32[np.ndarray, "label"]:
    """For each label the threshold with the largest sum of sensitivity and specificity (Youden's index).

    It lies halfway between two probabilities that occur, at 0.5 where all images, or none, have the label. Give
    predictions of images that nothing is scored on. `others._replace(thresholds=choose_thresholds(predictions))` decides by
    them. Raises RefusedError for predictions that are not of several labels.

    Reference: Youden, "Index for rating diagnostic tests", 1950,
    https://doi.org/10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    if np.ndim(predictions.labels) != 2:
        raise refuse("predictions", "have no matrix of labels", "predict images whose labels are known")
    is_known, is_positive = predictions.labels >= 0, predictions.labels == 1
    return np.array(
        [
            _best_threshold(is_positive[known, label], predictions.probabilities[known, label])
            for label, known in enumerate(is_known.T)
        ],
        np.float32,
    )


def _best_threshold(is_positive: Bool[np.ndarray, "m"], probabilities: Float[np.ndarray, "m"]) -> float:
    if is_positive.all() or not is_positive.any():
        return EVEN_THRESHOLD
    values, level = np.unique(-probabilities, return_inverse=True)
    positives, all_images = np.bincount(level, is_positive), np.bincount(level)
    sensitivity = np.cumsum(positives) / positives.sum()
    false_alarms = np.cumsum(all_images - positives) / (~is_positive).sum()
    best = int(np.argmax((sensitivity - false_alarms).round(12)))
    lowest = -float(values[best])  # of those that are predicted
    below = -float(values[best + 1]) if best + 1 < len(values) else 0.0
    halfway = float(np.float32((lowest + below) / 2))
    return halfway if halfway > below else lowest
