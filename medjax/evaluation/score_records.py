"""The metrics of a set of predictions as records that a person can print; metrics.json holds them as a block."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from medjax.errors import counted
from medjax.evaluation.intervals import Interval


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Scores of one class against all others, 0 to 1; None where the denominator is zero."""

    n: int  # predictions of images of this class
    precision: float | None  # share of those predicted as this class that belong to it
    recall: float | None  # share of this class that is predicted as it
    f1: float | None  # harmonic mean of precision and recall
    specificity: float | None  # share of the other classes that is not predicted as this one
    sensitivity: float | None  # the same as recall
    sensitivity_ci95: Interval | None  # this interval and the next two are Wilson's
    specificity_ci95: Interval | None
    precision_ci95: Interval | None
    auc: float | None  # area under the ROC curve; None if all images, or none, are of this class
    average_precision: float | None  # None if no image is of this class


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """How the bootstrap intervals were made, or why there are none."""

    resamples: int
    seed: int
    unit: str  # what is resampled: "image" or "group"
    units: int  # number of different ones
    withheld: str | None  # reason why there are no intervals


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Metrics of a set of predictions; None where a metric, or an interval, is undefined.

    Intervals (`*_ci95`) have a level of 95 %: Wilson's for proportions, otherwise a percentile bootstrap over images, or
    over groups if groups were given. Macro averages are taken over the classes that occur.
    """

    n: int  # predictions
    errors: int
    accuracy: float
    accuracy_ci95: Interval
    accuracy_ci95_grouped: Interval | None  # takes groups, not images, as independent; None without groups
    balanced_accuracy: float  # mean recall of the classes that have images
    macro_f1: float
    auc: float | None  # mean over the classes of one against the others; None if a class has no image
    average_precision: float | None  # likewise
    loss: float | None  # mean cross-entropy in nats
    brier: float  # 0 to 2, summed over the classes
    ece: float  # expected calibration error, 0 to 1
    ece_binning: Mapping[str, Any]  # number and kind of the bins
    ece_if_calibrated: Interval | None  # where 95 % of the errors of a perfectly calibrated model would lie
    balanced_accuracy_ci95: Interval | None
    macro_f1_ci95: Interval | None
    auc_ci95: Interval | None
    average_precision_ci95: Interval | None
    loss_ci95: Interval | None
    brier_ci95: Interval | None
    bootstrap: Bootstrap
    confusion_matrix: Int[np.ndarray, "class class"]  # rows true, columns predicted
    per_class: Mapping[str, ClassScores]  # by name of the class

    def __str__(self) -> str:
        low, high = self.accuracy_ci95
        loss = "undefined" if self.loss is None else f"{self.loss:.4f}"
        return (
            f"accuracy {100 * self.accuracy:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), "
            f"{counted(self.errors, 'error')} of {self.n:,}, loss {loss}"
        )

    def __repr__(self) -> str:
        return f"<Scores: {self}>"

    def to_json(self) -> dict[str, Any]:
        """The block of metrics.json: the fields as dicts, lists, numbers and None."""
        return _plain(self)


def _plain(value: Any) -> Any:
    """A dataclass, mapping, tuple or array as what JSON has for it."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
