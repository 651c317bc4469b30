"""Numbers and facts of a run as plain text for a reader; the templates escape it for the browser."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

from medjax.config import SETTINGS
from medjax.errors import counted
from medjax.records import kept_together
from medjax.settings import Heading

UNDEFINED = "undefined"

LOADING = {
    "resized": "resized{source} to {size} pixels, the model's size",
    "reshaped": "{shape}, so stretched or squeezed by the resizing; --fit pad or crop keeps their shape",
    "padded": "{shape}, so padded with black",
    "cropped": "{shape}, so cropped to their center",
    "composited": "with transparent pixels, laid on the chosen background",
    "reoriented": "rotated or mirrored as the EXIF tag says",
    "recolored": "converted to the chosen color mode",
    "rescaled": "{kept}{window}",
    "hounsfield": "of CT in DICOM, read in Hounsfield units",
    "given_window": "in DICOM, read through the window that was given",
    "own_window": "in DICOM, read through the window of each file",
    "percentiles": "of MR in DICOM, read from their 1st to their 99th percentile",
    "colored": "in DICOM, in color",
    "inverted": "in DICOM with white stored as 0, so inverted",
    "skipped": "skipped as junk (system files, notes, arrays that are no images)",
    "tables": "beside the images, not read",
    "ignored": "excluded by --ignore",
    "bad": "that cannot be used, left out by --skip-bad",
    "conflicting": "stored in the source under two labels",
    "guessed_names": "with a name in an unknown encoding",
}
"""Meaning of each count of `medjax.records.LoadCounts`, after words such as "12 images"; `loading` fills the gaps."""

NO_PROOF = (
    "A map shows what moved the answer of this network. It is no proof that the answer is right, nor that the network "
    "looks at what a physician would; a map that looks plausible may still be wrong."
)
"""Beside maps of what moved an answer."""

_COUNTED = {"skipped": "file", "ignored": "file", "tables": "table"}
_MOST_DECIMALS = 6
_NAMED = 5  # images that a sentence names
_UNITS = re.compile(r"^(image|epoch|feature|pixel|degree|gray level|pass)(?:e?s)\b")
"""Plural at the beginning of the unit of a setting, and its singular."""


def decimals(n: int) -> int:
    """Decimals of a percentage of `n` images."""
    return 2 if n >= 100 else 1


class Percentages(NamedTuple):
    """An accuracy and the bounds of its 95 % interval, in per cent, with the same number of decimals."""

    point: str
    low: str
    high: str


def percentages(scores: Mapping[str, Any]) -> Percentages:
    """The accuracy in a block of metrics.json, with more decimals if a value below 100 % would be rounded to it.

    The bounds are those of the interval that leads: by groups where there are any.
    """
    if scores["accuracy"] is None:
        return Percentages(UNDEFINED, UNDEFINED, UNDEFINED)
    values = [scores["accuracy"], *(scores[scores["leading_ci95"]] or ())]
    digits = decimals(scores["n"])
    while digits < _MOST_DECIMALS and any(_hides_errors(value, digits) for value in values):
        digits += 1
    shown = [f"{100 * value:.{digits}f}" for value in values]
    return Percentages(*shown, *[UNDEFINED] * (3 - len(shown)))


def percent(value: float | None, n: int, deviation: float | None = None) -> str:
    """An accuracy over `n` images, alone or with the standard deviation of several: "99.63 ± 0.21 %"."""
    if value is None:
        return UNDEFINED
    digits = decimals(n)
    while digits < _MOST_DECIMALS and (
        _hides_errors(value, digits) or _hides_deviation(deviation or 0.0, digits)
    ):
        digits += 1
    spread = "" if deviation is None else f" ± {100 * deviation:.{digits}f}"
    return f"{100 * value:.{digits}f}{spread} %"


def _hides_errors(value: float, digits: int) -> bool:
    return value < 1 - 1e-9 and round(100 * value, digits) == 100


def _hides_deviation(deviation: float, digits: int) -> bool:
    return deviation > 1e-9 and round(100 * deviation, digits) == 0


def share(value: float | None, n: int) -> str:
    """A share, 0 to 1, of `n` images; a value between is never rounded to 0 or 1: "0.9944", "> 0.9999"."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    digits = decimals(n) + 2
    step = 10**-digits
    if 1 - step / 2 <= value < 1:
        return f"> {1 - step:.{digits}f}"
    return f"< {step:.{digits}f}" if 0 < value < step / 2 else f"{value:.{digits}f}"


def number(value: float | None) -> str:
    """Three significant digits, such as a loss in nats: "0.00180", "1.79", "3.20 × 10⁻⁶"."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    mantissa, _, exponent = f"{value:#.3g}".rstrip(".").partition("e")
    if not exponent:
        return mantissa
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{raised}"


def enumerated(words: Iterable[object]) -> str:
    """Words of a sentence: "1", "1 and 3", "1, 3 and 4"."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def duration(seconds: float | None) -> str:
    """Seconds in the units they need: "0.84 s", "12.3 s", "4 min 05 s", "1 h 02 min"."""
    if seconds is None or not math.isfinite(seconds):
        return UNDEFINED
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def moment(iso: str) -> str:
    """An ISO 8601 time as "22 November 2026, 09:30 UTC"."""
    time = datetime.fromisoformat(iso).astimezone(UTC)
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def shape(sides: list[int]) -> str:
    """Sides of an array: "28 × 28 × 1"."""
    return " × ".join(map(str, sides))


def loading(data: Mapping[str, Any]) -> list[str]:
    """What loading did to the images, from the block `data` of run.json: one sentence for each count that is not zero."""
    height, width = data["image_shape"][:2]
    smallest, largest = (" by ".join(map(str, size)) for size in data["source_sizes"] or ("", ""))
    between = smallest if smallest == largest else f"between {smallest} and {largest}"
    window = data["window"]
    gaps = {
        "source": f" from {between}" if between else "",
        "size": f"{width} by {height}",
        "shape": "not square" if width == height else "of other proportions",
        "kept": "kept at 16 bits" if window and window.get("bits") == 16 else "reduced from 16 to 8 bits",
        "window": f": values {window['low']} to {window['high']} as {window['levels']} gray levels"
        if window
        else "",
    }
    return [
        f"{counted(n, _COUNTED.get(name, 'image'))} {LOADING[name].format(**gaps)}"
        for name, n in data["loading"].items()
        if n
    ]


def dicom(used: Mapping[str, Any]) -> str:
    """How DICOM files were read, from the block `data.dicom` of run.json."""
    groups = "no groups of patients" if used["grouped_by"] is None else f"groups by {used['grouped_by']}"
    depth = "; gray levels of 16 bits" if used.get("bits") == 16 else ""
    return f"DICOM: {used['rule']}; {groups}{depth}"


def table(used: Mapping[str, Any]) -> str:
    """What was taken from a table of labels, from the block `data.table` of run.json."""
    labels = used["label_columns"]
    several = f"{', '.join(labels[:_NAMED])}{' …' if len(labels) > _NAMED else ''}"
    taken = {
        "images": used["image_column"],
        "labels": several,
        "groups": used["group_column"],
        "parts": used["part_column"],
    }
    left_out = {
        "row": (used["rows_without_image"], "without an image"),
        "image": (used["images_without_row"], "without a row"),
        "image ": (used["images_without_label"], "without a label"),
    }
    sentences = [
        f"{used['name']}: {counted(used['rows'], 'row')}; "
        + ", ".join(f"{role} by {column}" for role, column in taken.items() if column is not None)
    ]
    sentences += [f"{counted(n, noun.strip())} {what} left out" for noun, (n, what) in left_out.items() if n]
    if used["images_beside"]:
        where = counted(used["folders_beside"], "folder")
        sentences.append(f"{counted(used['images_beside'], 'image')} left out, in {where} that no row names")
    return "; ".join(sentences)


def overlap(counts: Mapping[str, Any]) -> str:
    """How many images of other data are a run's own, from the block `overlap` of its metrics.json."""
    own, missing = counts["trained"] + counts["held_back"], counts["missing"]
    named = missing["named"][:_NAMED]
    examples = f" ({'such as ' if len(named) < missing['n'] else ''}{', '.join(named)})" if named else ""
    facts = [
        f"the run's own images: {own:,} of {counts['n']:,} ({counts['trained']:,} trained on, "
        f"{counts['held_back']:,} held back)",
        f"new: {counts['new']:,}",
        f"named as one of the run's, with other pixels: {counts['changed']:,}" if counts["changed"] else "",
        f"missing of the run's {counts['run']:,}: {missing['n']:,}{examples}" if own else "",
        "ids or classes differ" if own == counts["n"] and not missing["n"] else "",
    ]
    return "; ".join(filter(None, facts))


def validation_decisions(training: Mapping[str, Any]) -> list[str]:
    """What training decided by validation scores; empty if it never looked at them."""
    decisions = {
        "which epoch's parameters are scored": training["keep"] != "last",
        "when training stopped": training["early_stopping"],
        "when the learning rate was reduced": training["reduce_on_plateau"],
        "how probabilities are calibrated": training.get("calibrate") is not None,
    }
    return [decision for decision, is_made in decisions.items() if is_made]


def groups_kept(groups: Mapping[str, Any]) -> str:
    """What was kept together, from the block `data.groups` of run.json; duplicates say nothing about patients."""
    number = counted(groups["n"], "group")
    if "user" in groups["sources"]:
        return f"Whole groups were kept together: {number}."
    return f"No patient groups were given; {kept_together(groups['sources'])} were grouped: {number}."


def settings(config: Mapping) -> dict[str, list[tuple[str, str]]]:
    """The settings of run.json: heading -> (name, value with unit). Those without effect are left out.

    Of files it is the name: a path may tell who a page is from.
    """
    values = _flat(config)
    for name in ("labels", "groups", "pretrained"):
        if values.get(name) is not None:
            values[name] = Path(str(values[name])).name
    groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*get_args(Heading), "other")}
    for name, value in values.items():
        declared = SETTINGS.get(name)  # None in the run of another version
        if declared is None:
            groups["other"].append(_setting(name, value))
        elif declared.has_effect(values):
            groups[declared.heading].append(_setting(name, value, declared.unit))
    return {heading: group for heading, group in groups.items() if group}


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign: "+12.40", "−0.05"."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def gain_measure(gain: Mapping[str, Any]) -> str:
    """What a gain over a baseline is measured in: of several labels an image the AUC, of one class the accuracy."""
    return "mean AUC" if gain.get("measure") == "auc" else "accuracy"


def gain_sentence(gain: Mapping[str, Any], baseline: str) -> str:
    """Whether the model beats the best baseline, and by how much."""
    size = f"{points(gain['difference'])} percentage points of {gain_measure(gain)}"
    if gain["ci95"] is None:
        return f"Against the best baseline ({baseline}) the model gains {size}; a single group allows no interval."
    low, high = gain["ci95"]
    size = f"{size}, 95 % interval {points(low)} to {points(high)}"
    if low > 0:
        return f"The model beats the best baseline ({baseline}): {size}."
    if high < 0:
        return f"The model does worse than the best baseline ({baseline}): {size}. Use the baseline."
    return (
        f"The model is not shown to beat the best baseline ({baseline}): {size}, "
        "so the difference may be zero."
    )


def _flat(config: Mapping) -> dict[str, object]:
    """All settings by their names, which are unique over the nested configurations."""
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def _setting(name: str, value: object, unit: str = "") -> tuple[str, str]:
    if value in (1, [1]):
        unit = _UNITS.sub(r"\1", unit)
    return name.replace("_", " "), f"{_plain(value)} {unit}".rstrip()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
