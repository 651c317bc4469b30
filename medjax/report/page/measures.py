"""The table of metrics on the page: their titles, keys in metrics.json, formats and meanings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from medjax.report import wording
from medjax.report.headline import is_of_labels


class Measure(NamedTuple):
    """A row of the table."""

    title: str
    key: str
    is_share: bool  # 0 to 1, with as many decimals as the number of images justifies; otherwise three digits
    meaning: str


MEASURES = (
    Measure("Accuracy", "accuracy", True, "share of images whose predicted class is the true one"),
    Measure(
        "Balanced accuracy",
        "balanced_accuracy",
        True,
        "mean sensitivity over the classes: a rare class counts as much as a common one",
    ),
    Measure(
        "Macro F1", "macro_f1", True, "mean over the classes of F1, the harmonic mean of precision and recall"
    ),
    Measure("AUC", "auc", True, "mean over the classes of the area under the ROC curve; 0.5 is chance"),
    Measure(
        "Average precision",
        "average_precision",
        True,
        "mean over the classes of the area under the precision-recall curve",
    ),
    Measure("Loss", "loss", False, "mean cross-entropy in nats; 0 is perfect"),
    Measure(
        "Brier score",
        "brier",
        False,
        "mean squared difference between probabilities and truth, summed over the classes; 0 to 2, 0 is perfect",
    ),
    Measure(
        "ECE",
        "ece",
        False,
        "expected calibration error: mean gap between confidence and accuracy; see the section on calibration",
    ),
)


ORDINAL = (
    Measure(
        "Quadratic-weighted kappa",
        "quadratic_kappa",
        True,
        "agreement beyond chance; an error counts by the square of how many classes it is off; 1 is perfect, 0 is chance",
    ),
    Measure(
        "Mean absolute error",
        "mean_absolute_error",
        False,
        "how many classes the answer is off, on average; 0 is perfect",
    ),
)
"""Of classes that are in order."""


OF_LABELS = (
    Measure("AUC", "auc", True, "mean over the labels of the area under the ROC curve; 0.5 is chance"),
    Measure(
        "Average precision",
        "average_precision",
        True,
        "mean over the labels of the area under the precision-recall curve",
    ),
    Measure(
        "Balanced accuracy", "balanced_accuracy", True, "mean of sensitivity and specificity over the labels"
    ),
    Measure(
        "Macro F1",
        "macro_f1",
        True,
        "mean over the labels of F1, the harmonic mean of precision and sensitivity",
    ),
    Measure("Exact match", "accuracy", True, "share of images all of whose known labels are right"),
    Measure("Loss", "loss", False, "mean binary cross-entropy of a label in nats; 0 is perfect"),
)
"""Of several labels an image."""


class Row(NamedTuple):
    """A metric of a run, as text."""

    title: str
    value: str
    interval: str  # empty if there is none
    meaning: str


def describe_measures(block: Mapping[str, Any]) -> list[Row]:
    """The rows of a block of metrics.json."""
    rows = []
    ordinal = block.get("ordinal")
    scores = {**block, **(ordinal or {})}
    for title, key, is_share, meaning in (
        OF_LABELS if is_of_labels(block) else MEASURES + (ORDINAL if ordinal else ())
    ):

        def show(value: float | None, is_share: bool = is_share) -> str:
            return wording.share(value, block["n"]) if is_share else wording.number(value)

        interval = block[block["leading_ci95"]] if key == "accuracy" else scores.get(f"{key}_ci95")
        text = "" if interval is None else f"{show(interval[0])} to {show(interval[1])}"
        rows.append(Row(title, show(scores[key]), text, meaning))
    return rows
