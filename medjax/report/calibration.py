"""What calibration did, as words: a line in the terminal, sentences and a table on the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.errors import counted
from medjax.report.wording import UNDEFINED, enumerated, number, validation_decisions

_METHODS = {
    "temperature": "one temperature, which changes no predicted class",
    "vector": "a scale and an offset for each class (vector scaling), which may change the predicted class",
    "isotonic": "isotonic regression of each class, which may change the predicted class",
}
_SHIFTED = "weights", "sampling"


def calibration_line(block: Mapping[str, Any]) -> str:
    """What it did to the scores of a part: "calibrated: loss 0.8123 (before 0.9341), …"."""
    return "calibrated: " + ", ".join(
        f"{title} {after} (before {before})" for title, before, after in before_rows(block)
    )


def before_rows(block: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each score's name, its value before and its value after calibration; of several labels the loss alone."""
    before = block["before_calibration"]
    rows = [("loss", before["loss"], block["loss"])]
    if "brier" in before:
        tests = block["calibration"]
        rows += [(name, before[name.lower()], block[name.lower()]) for name in ("Brier", "ECE")]
        rows += [(name, before[name]["value"], tests[name]["value"]) for name in ("slope", "intercept")]
    shown = [(name, *(UNDEFINED if each is None else f"{each:.4f}" for each in pair)) for name, *pair in rows]
    if "errors" in before:
        shown.append(("errors", f"{before['errors']:,}", f"{block['errors']:,}"))
    return [(name, first, second) for name, first, second in shown]


def calibration_sentences(metrics: Mapping[str, Any], training: Mapping[str, Any]) -> list[str]:
    """How probabilities were calibrated, on what, and what that leaves open."""
    maps: Sequence[Mapping[str, Any]] = metrics["calibrators"]
    is_several = "folds" in metrics
    where = "in each fold on its inner validation part" if is_several else "on the validation part"
    method = maps[0]["method"]
    how = "a temperature for each label" if "temperatures" in maps[0] else _METHODS[method]
    sentences = [f"Probabilities are calibrated by {how}, fitted {where} ({_span(maps, 'n')} images)."]
    if "temperature" in maps[0]:
        sentences.append(
            f"The temperature is {_span(maps, 'temperature')}; above 1 probabilities become less extreme."
        )
        if any(each["temperature"] == 1 for each in maps):
            sentences.append(
                "It is 1 where no validation image is predicted wrongly: these cannot show how far to go."
            )
    if others := validation_decisions({**training, "calibrate": None}):
        sentences.append(
            f"The same images decided {enumerated(others)}, so they look easier than new ones, and the map may correct too little."
        )
    if method == "temperature" and training["class_balance"] in _SHIFTED:
        other = (
            "" if "temperatures" in maps[0] else "; --calibrate vector can"
        )  # which is of one class an image
        sentences.append(
            f"A temperature cannot undo the shift by --class-balance {training['class_balance']}{other}."
        )
    if is_several and len(maps) > 1:
        sentences.append(
            f"New images get the mean of the {counted(len(maps), 'calibrated network')}, which is less extreme than each and "
            "was not calibrated itself."
        )
    return sentences


def _span(maps: Sequence[Mapping[str, Any]], name: str) -> str:
    """The value of all folds, or their range."""
    values = [each[name] for each in maps]
    show = (lambda value: f"{value:,}") if name == "n" else number
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"
