"""What leads wherever a score is shown: one interval, the balance of the classes, and what must be warned of.

The terminal and the page share these words. `block` is a block of scores in metrics.json, `record` is run.json.
"""

from collections.abc import Mapping
from typing import Any

from medjax.errors import counted
from medjax.report.wording import enumerated, percent, percentages

_MOST_EVEN = 1.5
"""Classes are unequal if the largest has over one and a half times an even share of the images …"""
_MOST_OF_TWO = 0.6
"""… or, of two classes, over 60 % (one and a half times an even share would be 75 %)."""


def leading_interval(
    block: Mapping[str, Any], name: str, row: Mapping[str, Any] | None = None
) -> list[float] | None:
    """The interval of a proportion that is shown: with groups as independent where there are any.

    `row` holds the proportion where `block` itself does not, as that of a class.
    """
    suffix = block["leading_ci95"].removeprefix("accuracy")
    return (block if row is None else row)[f"{name}{suffix}"]


def is_grouped(block: Mapping[str, Any]) -> bool:
    """Whether groups, not images, are taken as independent."""
    return block["bootstrap"]["unit"] == "group"


def is_of_labels(block: Mapping[str, Any]) -> bool:
    """Whether the scores are of several labels an image."""
    return "micro" in block


def interval_words(block: Mapping[str, Any]) -> str:
    """The interval of the accuracy beside it: "95 % interval 98.66 to 99.90 %, over 40 groups"."""
    if block[block["leading_ci95"]] is None:
        return "no interval: all images are of one group"
    _, low, high = percentages(block)
    return f"95 % interval {low} to {high} %" + _over_groups(block)


def interval_clause(block: Mapping[str, Any]) -> str:
    """The same, as the end of a sentence."""
    if block[block["leading_ci95"]] is None:
        return "without an interval, because all of them are of one group"
    _, low, high = percentages(block)
    if not is_grouped(block):
        return f"with a 95 % Wilson interval of {low} to {high} %"
    units = counted(block["bootstrap"]["units"], "group")
    return (
        f"with a 95 % interval of {low} to {high} %, which takes the {units}, not the images, as independent"
    )


def _over_groups(block: Mapping[str, Any]) -> str:
    return f", over {counted(block['bootstrap']['units'], 'group')}" if is_grouped(block) else ""


def is_unequal(block: Mapping[str, Any]) -> bool:
    """Whether one class has so many of the images that accuracy alone misleads."""
    return block["largest_class"]["share"] > min(_MOST_EVEN / max(len(block["per_class"]), 1), _MOST_OF_TWO)


def balance_sentence(block: Mapping[str, Any]) -> str:
    """What to judge by where classes are unequal; empty where they are not."""
    if not is_unequal(block):
        return ""
    n, largest = block["n"], block["largest_class"]
    return (
        f"The classes are unequal ({percent(largest['share'], n)} of the images are of {largest['name']}): judge by the "
        f"balanced accuracy, {percent(block['balanced_accuracy'], n)}, the mean sensitivity over the classes."
    )


def score_warnings(block: Mapping[str, Any]) -> list[str]:
    """What a score hides: classes that are never predicted, and that one answer to everything would do as well."""
    found = []
    missed = block["never_predicted"]
    if missed:
        n = sum(row["n"] for name, row in block["per_class"].items() if name in missed)
        verb, owner = ("is", "its") if len(missed) == 1 else ("are", "their")
        images = f"none of {owner} {n:,} images is" if n > 1 else f"{owner} one image is not"
        found.append(f"{enumerated(missed)} {verb} never predicted: {images} found")
    if is_of_labels(block):  # thresholds that find rare labels cost exact matches
        return found
    largest = block["largest_class"]
    gain = largest["gain_ci95"]
    if gain is None or gain[0] <= 0:
        verb = "is below" if gain is not None and gain[1] < 0 else "is not shown to be above"
        even = 1 / max(sum(row["n"] > 0 for row in block["per_class"].values()), 1)
        found.append(
            f"accuracy {verb} {percent(largest['share'], block['n'])}, that of always predicting {largest['name']} "
            f"(whose balanced accuracy is {percent(even, block['n'])})"
        )
    return found


def patients_note(record: Mapping[str, Any]) -> str | None:
    """How to say which images are of one patient; None where it was said, and for images of no patient."""
    groups = record["data"]["groups"]
    if record["data"]["is_synthetic"] or (groups and "user" in groups["sources"]):
        return None
    return (
        "images of one patient may be on both sides of the split, which makes scores too optimistic: if you know the "
        "patients, train with --groups FILE (a CSV with the columns id and group)"
    )
