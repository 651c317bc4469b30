"""The headline metrics as the page's table of them: title, key in metrics.json, how it is read, what it means."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from medjax.report import wording


class Measure(NamedTuple):
    """A row of the table."""

    title: str
    key: str
    is_share: bool  # 0 to 1, shown with as many decimals as the images are worth; else three digits
    meaning: str


MEASURES = (
    Measure("Accuracy", "accuracy", True, "share of images whose predicted class is the true one"),
    Measure(
        "Balanced accuracy",
        "balanced_accuracy",
        True,
        "mean sensitivity of the classes: rare ones count alike",
    ),
    Measure(
        "Macro F1", "macro_f1", True, "mean over the classes of F1, the harmonic mean of precision and recall"
    ),
    Measure("AUC", "auc", True, "mean over the classes of the area under the ROC curve; 0.5 is chance"),
    Measure(
        "Average precision",
        "average_precision",
        True,
        "mean over the classes of the area under precision and recall",
    ),
    Measure("Loss", "loss", False, "mean cross-entropy in nats; 0 is perfect"),
    Measure(
        "Brier score",
        "brier",
        False,
        "mean squared distance from the truth, over all classes; 0 to 2, 0 is perfect",
    ),
    Measure(
        "ECE", "ece", False, "mean gap between how sure and how often right; see the reliability section"
    ),
)


class Row(NamedTuple):
    """A measure of a run, as text."""

    title: str
    value: str
    interval: str
    meaning: str


def describe_measures(block: Mapping[str, Any]) -> list[Row]:
    """The rows that a block of metrics.json has; an interval that is not given is an empty text."""
    rows = []
    for title, key, is_share, meaning in MEASURES:
        if key not in block:
            continue

        def show(value: float | None, is_share: bool = is_share) -> str:
            return wording.share(value, block["n"]) if is_share else wording.number(value)

        interval = block.get(f"{key}_ci95")
        text = "" if interval is None else f"{show(interval[0])} to {show(interval[1])}"
        rows.append(Row(title, show(block[key]), text, meaning))
    return rows
