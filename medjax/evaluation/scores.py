"""The block of metrics that a set of predictions earns, as it stands in metrics.json."""

import math
from typing import Any

import numpy as np

from medjax.evaluation.intervals import wilson_interval
from medjax.metrics import class_rates
from medjax.records import Predictions


def score(
    predictions: Predictions, class_names: tuple[str, ...], *, num_distinct: int | None = None
) -> dict[str, Any]:
    """Metrics of at least one prediction, as JSON values; None where a metric is undefined.

    `num_distinct` is the number of images where some were predicted more than once: the interval is of that many,
    because predicting an image again makes nothing surer.

    Keys: n, errors, accuracy, accuracy_ci95 (Wilson), loss (mean cross-entropy in nats), confusion_matrix (rows
    true, columns predicted), per_class (n, precision, recall, f1, specificity, auc: one class against the others,
    from probabilities).
    """
    # Imported here: it takes over a second, and only scoring needs it.
    from sklearn.metrics import confusion_matrix

    labels, predicted = predictions.labels, predictions.probabilities.argmax(axis=1)
    num_classes = len(class_names)
    confusion = confusion_matrix(labels, predicted, labels=np.arange(num_classes))
    n, correct = len(labels), int(np.trace(confusion))
    num_images = n if num_distinct is None else num_distinct
    rates = class_rates(confusion)
    return {
        "n": n,
        "errors": n - correct,
        "accuracy": correct / n,
        "accuracy_ci95": list(wilson_interval(correct * num_images / n, num_images)),
        "loss": _defined(predictions.losses.astype(np.float64).mean()),
        "confusion_matrix": confusion.tolist(),
        "per_class": {
            name: {
                "n": int(confusion[label].sum()),
                **{key: _defined(getattr(rates, key)[label]) for key in rates._fields},
                "auc": _area_under_curve(labels == label, predictions.probabilities[:, label]),
            }
            for label, name in enumerate(class_names)
        },
    }


def _area_under_curve(is_class: np.ndarray, probabilities: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    if is_class.all() or not is_class.any():
        return None
    return float(roc_auc_score(is_class, probabilities))


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
