"""Scores of several labels an image, as records; metrics.json holds them as a block."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from medjax.errors import counted
from medjax.evaluation.intervals import Interval
from medjax.evaluation.score_records import Bootstrap, LargestClass, as_plain

MACRO = ("balanced_accuracy", "macro_f1", "average_precision", "loss")
"""Scores of all labels together whose interval is of a bootstrap."""


class LabelIntervals(NamedTuple):
    """95 % intervals of `medjax.evaluation.label_bootstrap`; None where a score is undefined, be it in a single resample."""

    macro: dict[str, Interval | None]  # those of `MACRO`
    average_precision: list[Interval | None]  # of each label; None too where the bootstrap cannot be trusted


@dataclasses.dataclass(frozen=True)
class OneLabelScores:
    """Scores of one label, over the images of which it is known, 0 to 1; None where the denominator is zero."""

    n: int  # predictions of images that have the label
    known: int  # predictions of images of which it is known whether they have it
    threshold: (
        float | None
    )  # the label is predicted from this probability on; None where that differs from fold to fold
    sensitivity: float | None  # share of the images with the label that are predicted to have it
    specificity: float | None  # share of the images without it that are predicted not to have it
    precision: float | None  # share of those predicted to have it that have it
    f1: float | None  # harmonic mean of precision and sensitivity
    sensitivity_ci95: Interval | None  # this interval and the next two are Wilson's
    specificity_ci95: Interval | None
    precision_ci95: Interval | None
    sensitivity_ci95_grouped: Interval | None  # the same with groups as independent; None without groups
    specificity_ci95_grouped: Interval | None
    precision_ci95_grouped: Interval | None
    auc: float | None  # area under the ROC curve; None if all images, or none, have the label
    auc_ci95: Interval | None  # takes groups as independent where there are any
    average_precision: float | None  # None if no image has the label
    average_precision_ci95: Interval | None  # of the bootstrap
    mean_probability: float | None  # calibrated in the large if it is n / known


@dataclasses.dataclass(frozen=True)
class MicroScores:
    """Scores over all pairs of an image and a label that is known of it, 0 to 1; None where the denominator is zero."""

    n: int  # pairs
    auc: float | None
    average_precision: float | None
    sensitivity: float | None
    specificity: float | None
    precision: float | None
    f1: float | None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LabelScores:
    """Metrics of predictions of several labels an image; None where a metric, or an interval, is undefined.

    A prediction is right if all labels that are known of its image are (exact match). Macro averages are taken over the
    labels that have the score. Intervals of proportions are Wilson's, those of the AUC of `medjax.evaluation.auc`, the others a
    percentile bootstrap over images, or over groups where there are any, withheld if there are fewer than 30. Where there are
    groups, report proportions with the intervals `*_ci95_grouped`.
    """

    n: int  # predictions of images of which a label is known
    errors: int  # with at least one wrong label
    accuracy: float  # exact match
    accuracy_ci95: Interval
    accuracy_ci95_grouped: Interval | None
    leading_ci95: str
    largest_class: LargestClass  # the combination of labels that most images have
    never_predicted: tuple[str, ...]  # labels that images have and that are never predicted
    balanced_accuracy: float  # macro average of the mean of sensitivity and specificity
    macro_f1: float
    auc: float | None  # macro average
    average_precision: float | None  # macro average, with an interval if each label in it has one
    loss: float | None  # mean over the images of the mean binary cross-entropy of their known labels, in nats
    balanced_accuracy_ci95: Interval | None
    macro_f1_ci95: Interval | None
    auc_ci95: Interval | None
    average_precision_ci95: Interval | None
    loss_ci95: Interval | None
    bootstrap: Bootstrap
    macro: Mapping[str, float | None]  # sensitivity, specificity, precision
    micro: MicroScores
    per_class: Mapping[str, OneLabelScores]  # by name of the label

    def __str__(self) -> str:
        auc = "undefined" if self.auc is None else f"{self.auc:.4f}"
        return (
            f"mean AUC {auc} of {counted(len(self.per_class), 'label')}, all labels right in "
            f"{100 * self.accuracy:.2f} % of {self.n:,}"
        )

    def __repr__(self) -> str:
        return f"<LabelScores: {self}>"

    def to_json(self) -> dict[str, Any]:
        """The block of metrics.json: the fields as dicts, lists, numbers and None."""
        return as_plain(self)
