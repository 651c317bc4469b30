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
    sensitivity_ci95_grouped: (
        Interval | None
    )  # the same with groups, not images, as independent; None without groups
    specificity_ci95_grouped: Interval | None
    precision_ci95_grouped: Interval | None
    auc: float | None  # area under the ROC curve; None if all images, or none, are of this class
    auc_ci95: Interval | None  # takes groups as independent where there are any
    average_precision: float | None  # None if no image is of this class


@dataclasses.dataclass(frozen=True)
class LargestClass:
    """The class with the most images, and whether the model does better than by always predicting it."""

    name: str
    share: float  # of the predictions; the accuracy of always predicting it
    gain_ci95: Interval | None  # of the model's accuracy minus that share, in pairs; None for a single group


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """How the bootstrap intervals were made, or why there are none."""

    resamples: int
    seed: int
    unit: str  # what is resampled: "image" or "group"
    units: int  # number of different ones
    withheld: str | None  # reason why there are no intervals


@dataclasses.dataclass(frozen=True)
class CalibrationTest:
    """A quantity that says how far probabilities are from the truth, and whether chance explains it."""

    value: float | None  # None where undefined, as the slope of a model with hardly any errors
    if_calibrated: float  # what it would be for a perfectly calibrated model and very many images
    ci95: Interval | None
    p: float | None  # two-sided; None where it is not tested
    p_adjusted: float | None  # for the number of tests: below 0.05 the model is not calibrated


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Tests of calibration, by `medjax.evaluation.calibration_tests`."""

    unit: str  # what is taken as independent: "image" or "group"
    units: int  # number of different ones
    in_the_large: CalibrationTest  # mean probability of the predicted class minus accuracy
    slope: CalibrationTest  # of the logistic recalibration of that probability; below 1: too extreme
    intercept: CalibrationTest
    spiegelhalter: CalibrationTest  # z; positive: the Brier score is larger than promised
    classes: Mapping[str, CalibrationTest]  # mean probability of a class minus its share of the images
    detectable_gap: float | None  # value of `in_the_large` that is found four times in five

    @property
    def tests(self) -> list[CalibrationTest]:
        """All that have a p-value."""
        return [self.in_the_large, self.slope, self.spiegelhalter, *self.classes.values()]


@dataclasses.dataclass(frozen=True)
class OrdinalScores:
    """Scores of classes that are in order, by `medjax.evaluation.ordinal`."""

    quadratic_kappa: (
        float | None
    )  # 1 is perfect, 0 is chance; None where labels and answers are all of one class
    quadratic_kappa_ci95: Interval | None
    mean_absolute_error: float  # in classes: 1 is one grade off
    mean_absolute_error_ci95: Interval | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Metrics of a set of predictions; None where a metric, or an interval, is undefined.

    Intervals (`*_ci95`) have a level of 95 %: Wilson's for proportions, that of `medjax.evaluation.auc` for the AUC, otherwise
    a percentile bootstrap over images, or over groups if groups were given. Macro averages are taken over the classes that occur. Where groups were given,
    report the proportions with the intervals `*_ci95_grouped`: `leading_ci95` names the one that leads.
    """

    n: int  # predictions
    errors: int
    accuracy: float
    accuracy_ci95: Interval
    accuracy_ci95_grouped: (
        Interval | None
    )  # takes groups, not images, as independent; None without groups, or of one
    leading_ci95: str  # the interval to report: "accuracy_ci95", or with groups "accuracy_ci95_grouped"
    largest_class: LargestClass
    never_predicted: tuple[str, ...]  # classes that have images and are never predicted
    balanced_accuracy: float  # mean recall of the classes that have images
    macro_f1: float
    auc: float | None  # mean over the classes of one against the others; None if a class has no image
    average_precision: float | None  # likewise
    loss: float | None  # mean cross-entropy in nats
    brier: float  # 0 to 2, summed over the classes
    ece: float  # expected calibration error, 0 to 1
    ece_binning: Mapping[str, Any]  # number and kind of the bins
    ece_if_calibrated: Interval | None  # where 95 % of the errors of a perfectly calibrated model would lie
    calibration: Calibration | None  # None where `resamples` is 0
    balanced_accuracy_ci95: Interval | None
    macro_f1_ci95: Interval | None
    auc_ci95: Interval | None
    average_precision_ci95: Interval | None
    loss_ci95: Interval | None
    brier_ci95: Interval | None
    bootstrap: Bootstrap
    confusion_matrix: Int[np.ndarray, "class class"]  # rows true, columns predicted
    per_class: Mapping[str, ClassScores]  # by name of the class
    ordinal: OrdinalScores | None = None  # None unless the classes are said to be in order

    def __str__(self) -> str:
        interval = getattr(self, self.leading_ci95)
        bounds = "undefined" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"
        loss = "undefined" if self.loss is None else f"{self.loss:.4f}"
        return (
            f"accuracy {100 * self.accuracy:.2f} % (95 % interval {bounds}), "
            f"{counted(self.errors, 'error')} of {self.n:,}, loss {loss}"
        )

    def __repr__(self) -> str:
        return f"<Scores: {self}>"

    def to_json(self) -> dict[str, Any]:
        """The block of metrics.json: the fields as dicts, lists, numbers and None; `ordinal` only where it is known."""
        block = as_plain(self)
        if self.ordinal is None:
            del block["ordinal"]
        return block


def as_plain(value: Any) -> Any:
    """A dataclass, mapping, tuple or array as what JSON has for it: dicts, lists, numbers and None."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: as_plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [as_plain(each) for each in value] if isinstance(value, tuple) else value
