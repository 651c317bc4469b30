"""Numbers and facts of a run as a reader sees them: text, and nothing that a browser would interpret."""

import math
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args

from medjax.config import SETTINGS
from medjax.settings import Heading

UNDEFINED = "undefined"

LOADING = {
    "resized": "resized to the model's size",
    "reshaped": "stretched or squeezed on the way, having another aspect ratio",
    "reoriented": "turned upright as the EXIF tag says",
    "recolored": "converted to the chosen color",
    "rescaled": "reduced from 16 to 8 bits",
    "skipped": "skipped as junk (system folders and notes beside the images)",
    "ignored": "left out by --ignore",
    "conflicting": "in the source under two labels",
}
"""What each count of `medjax.records.LoadCounts` means, after the words "12 images"."""


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
    while places < 6 and any(_hides_errors(value, places) for value in values):
        places += 1
    return Percentages(*(f"{100 * value:.{places}f}" for value in values))


def percent(value: float | None, n: int, deviation: float | None = None) -> str:
    """An accuracy over `n` images, alone or with the standard deviation of several: "99.63 ± 0.21 %"."""
    if value is None:
        return UNDEFINED
    places = decimals(n)
    while places < 6 and (_hides_errors(value, places) or _hides_spread(deviation or 0.0, places)):
        places += 1
    spread = "" if deviation is None else f" ± {100 * deviation:.{places}f}"
    return f"{100 * value:.{places}f}{spread} %"


def _hides_errors(value: float, places: int) -> bool:
    return value < 1 - 1e-9 and round(100 * value, places) == 100


def _hides_spread(deviation: float, places: int) -> bool:
    return deviation > 1e-9 and round(100 * deviation, places) == 0


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


def listed(words: Iterable[object]) -> str:
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


def loading(counts: Mapping[str, int]) -> list[str]:
    """What loading did to the images, a sentence for each count that is not zero."""
    return [
        f"{counted(n, 'file' if name in ('skipped', 'ignored') else 'image')} {LOADING.get(name, name)}"
        for name, n in counts.items()
        if n
    ]


def chosen(training: Mapping) -> list[str]:
    """What training decides by its scores on validation images; empty where it never looks at them."""
    decisions = {
        "which epoch's parameters are scored": training["keep"] != "last",
        "when training stopped": training.get("early_stopping"),
        "when the learning rate was reduced": training.get("reduce_on_plateau"),
    }
    return [decision for decision, is_made in decisions.items() if is_made]


def settings(config: Mapping) -> dict[str, list[tuple[str, str]]]:
    """The settings of run.json: heading -> (name, value with unit). Those without effect are left out."""
    values = _flat(config)
    groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*get_args(Heading), "other")}
    for name, value in values.items():
        declared = SETTINGS.get(name)  # None in the run of another version
        if declared is None:
            groups["other"].append(_setting(name, value))
        elif declared.has_effect(values):
            groups[declared.heading].append(_setting(name, value, declared.unit))
    return {heading: group for heading, group in groups.items() if group}


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign: "+12.40", "−0.05"."""
    return f"{100 * share:+.2f}".replace("-", "−")


def gain_sentence(gain: Mapping, baseline: str) -> str:
    """What the model gains over the best simple one, in plain words."""
    low, high = gain["ci95"]
    size = f"{points(gain['difference'])} percentage points of accuracy (95 % interval {points(low)} to {points(high)})"
    if low > 0:
        return f"The network beats the best simple model, {baseline}: {size}."
    if high < 0:
        return f"The network does worse than a simple model, {baseline}: {size}. Use the simple one."
    return (
        f"It is not shown that the network beats a simple model, {baseline}: the difference is {size}, "
        "which leaves room for none."
    )


def shown_command(run: Mapping) -> str:
    """The command as it was given, but of the place where the data lie only their name."""
    try:
        parts = shlex.split(run["command"])
    except ValueError:  # of a call in Python rather than a command line
        return run["command"]
    path = Path(run["data"]["path"])
    return shlex.join(path.name if Path(part).absolute() == path else part for part in parts)


def _flat(config: Mapping) -> dict[str, object]:
    """All settings by their names, which are unique over the nested configurations."""
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def _setting(name: str, value: object, unit: str = "") -> tuple[str, str]:
    return name.replace("_", " "), f"{_plain(value)} {unit}".rstrip()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
