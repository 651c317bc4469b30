"""Numbers and facts of a run as a reader sees them: text, and nothing that a browser would interpret."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

UNDEFINED = "undefined"

LOADING = {
    "resized": "resized to the model's size",
    "reshaped": "stretched or squeezed on the way, having another aspect ratio",
    "reoriented": "turned upright as the EXIF tag says",
    "recolored": "converted to the chosen colour",
    "rescaled": "reduced from 16 to 8 bits",
    "skipped": "skipped as junk (system folders and notes beside the images)",
    "ignored": "left out by --ignore",
    "conflicting": "in the source under two labels",
}
"""What each count of `medjax.records.LoadCounts` means, after the words "12 images"."""

UNITS = {
    "epochs": "passes over the training images",
    "batch_size": "images",
    "dropout": "of the hidden units",
    "fractions": "(train, val, test)",
    "image_size": "pixels a side",
    "max_megapixels": "million pixels",
    "rotation": "degrees either way",
    "shift": "of each side, either way",
    "zoom": "either way on each axis",
}


def decimals(n: int) -> int:
    """Decimals of a percentage of `n` images."""
    return 2 if n >= 100 else 1


class Percentages(NamedTuple):
    """An accuracy and the bounds of its 95 % interval, in per cent, with the same decimals."""

    point: str
    low: str
    high: str


def percentages(scores: Mapping) -> Percentages:
    """Accuracy in the decimals that `n` is worth, and more where a value below 100 % would round to that."""
    if scores["accuracy"] is None:
        return Percentages(UNDEFINED, UNDEFINED, UNDEFINED)
    values = [scores["accuracy"], *scores["accuracy_ci95"]]
    places = decimals(scores["n"])
    while places < 6 and any(round(100 * value, places) == 100 for value in values if value < 1 - 1e-9):
        places += 1
    return Percentages(*(f"{100 * value:.{places}f}" for value in values))


def share(value: float | None, n: int) -> str:
    """A share of 0 to 1, with the decimals that `n` images are worth; never rounded to certainty."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    places = decimals(n) + 2
    step = 10**-places
    if 1 - step / 2 <= value < 1:
        return f"> {1 - step:.{places}f}"
    return f"< {step:.{places}f}" if 0 < value < step / 2 else f"{value:.{places}f}"


def number(value: float | None) -> str:
    """Three significant digits, such as a loss in nats: "0.00180", "1.79", "3.20 × 10⁻⁶"."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    mantissa, _, exponent = f"{value:#.3g}".rstrip(".").partition("e")
    if not exponent:
        return mantissa
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{raised}"


def counted(n: int, noun: str) -> str:
    """The number and its noun: "1 error", "2,520 errors"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


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


def loading(counts: Mapping[str, int]) -> list[str]:
    """What loading did to the images, a sentence for each count that is not zero."""
    return [
        f"{counted(n, 'file' if name in ('skipped', 'ignored') else 'image')} {LOADING.get(name, name)}"
        for name, n in counts.items()
        if n
    ]


def settings(config: Mapping) -> dict[str, list[tuple[str, str]]]:
    """The settings in groups: title -> (name, value with unit). Augmentation only where it was on."""
    groups = {"training": {name: value for name, value in config.items() if not isinstance(value, Mapping)}}
    groups |= {name: dict(value) for name, value in config.items() if isinstance(value, Mapping)}
    if not config["augment"]:
        groups.pop("augmentation", None)
    return {title: [_setting(*item) for item in group.items()] for title, group in groups.items()}


def _setting(name: str, value: object) -> tuple[str, str]:
    return name.replace("_", " "), f"{_plain(value)} {UNITS.get(name, '')}".rstrip()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
