"""Gray levels of DICOM images: modality LUT or rescaling, window, MONOCHROME1 inverted; by one rule for a data set.

All of it depends on the stored value alone, so it is computed once for each value there can be, and the pixels are looked up.

Reference: DICOM PS3.3 2024d, C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.3.1.2 (photometric interpretation),
C.7.5.1.1.2 (padding)
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

from medjax.config import ReadingConfig
from medjax.data.dicom.header import Header
from medjax.data.dicom.stored import STRIP_ROWS, Stored, Values, look_up_entries, stored_values
from medjax.data.reading.listing import UnfitError

HOUNSFIELD_WINDOWS = {"lung": (-1350, 150), "bone": (-500, 1300), "brain": (0, 80), "soft": (-150, 250)}
"""In Hounsfield units: levels -600, 400, 40 and 50, widths 1500, 1800, 80 and 400."""
ALL_HOUNSFIELD = (-1024, 3071)
"""The 12 bits that scanners use; what --window auto takes for CT."""
LOW_PERCENTILE, HIGH_PERCENTILE = 1, 99

_CT, _MR = "CT", "MR"
# Of X-ray, ultrasound, visible light and screens: values mean what the maker of the image says.
_OWN_WINDOW = frozenset(
    [
        *("CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF", "US", "IVUS"),
        *("XC", "ES", "GM", "OP", "OPT", "OCT", "IVOCT", "DG", "OT"),
    ]
)
_EXPORT = "export it again"


class Levels(NamedTuple):
    """The gray level, 0 to 1, of each value that can be stored, and the rule that made them."""

    levels: Values
    # What the first and the last value stand for, after the modality LUT or rescaling.
    span: tuple[float, float]
    rule: str  # "hounsfield", "own_window", "percentiles" or "given_window": a field of LoadCounts
    is_inverted: bool


def make_levels(header: Header, stored: Stored, config: ReadingConfig) -> Levels:
    """The gray level of each value that `header.bits` bits can hold; `stored` are indices of these, by `stored.index_of`.

    The rule depends on the settings and on the modality, never on other images: see `rule_of`. UnfitError where the header
    does not say what that needs.
    """
    rule = rule_of(header, config)
    values = stored_values(header)
    padding = _is_padding(header, values)
    physical = _after_modality(header, values)
    if rule == "percentiles":
        levels = _between(physical, *_percentiles(physical, stored, padding))
    elif rule == "own_window":
        levels = _by_own_window(header, physical)
    else:
        levels = _between(physical, *_limits(config.window))
    is_inverted = header.colors == "MONOCHROME1"
    levels = 1 - levels if is_inverted else levels
    levels[padding] = 0
    return Levels(levels, (float(physical[0]), float(physical[-1])), rule, is_inverted)


def rule_of(header: Header, config: ReadingConfig) -> str:
    """How gray levels are made of this kind of image; UnfitError where the settings do not say."""
    window, modality = config.window, header.modality
    if modality == _CT:
        if window == "refuse":
            raise UnfitError(
                "is a CT image",
                "choose --window lung, bone, brain or soft, or --window LO HI in Hounsfield units",
            )
        _require_hounsfield(header)
        return "hounsfield"
    if window in HOUNSFIELD_WINDOWS:
        raise UnfitError("is no CT image, so it has no Hounsfield units", f"--window {window} is for CT")
    if not isinstance(window, str):
        return "given_window"
    if modality == _MR:
        return "percentiles"
    if modality in _OWN_WINDOW:
        return "own_window"
    raise UnfitError(
        "is a DICOM image of a modality without a rule of its own", "choose --window LO HI in its values"
    )


def _require_hounsfield(header: Header) -> None:
    has_rescale = "RescaleSlope" in header.tags and "RescaleIntercept" in header.tags
    if not has_rescale and not header.tags.get("ModalityLUTSequence"):
        raise UnfitError(
            "is a CT image without RescaleSlope and RescaleIntercept, so without Hounsfield units", _EXPORT
        )
    if str(header.tags.get("RescaleType") or "HU").strip() != "HU":
        raise UnfitError("is a CT image in other units than Hounsfield's (RescaleType)", _EXPORT)


def _limits(window: Any) -> tuple[int, int]:
    if isinstance(window, str):
        return HOUNSFIELD_WINDOWS.get(window, ALL_HOUNSFIELD)
    return window


def _after_modality(header: Header, values: Int64[np.ndarray, "value"]) -> Values:
    tags = header.tags
    if tags.get("ModalityLUTSequence"):
        item = tags.ModalityLUTSequence[0]
        return look_up_entries(values, item.get("LUTDescriptor"), item.get("LUTData"), header)[0]
    if "RescaleSlope" not in tags and "RescaleIntercept" not in tags:
        return values.astype(np.float64)
    slope, intercept = _number(tags, "RescaleSlope", 1.0), _number(tags, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnfitError("is a DICOM file whose RescaleSlope is 0", _EXPORT)
    return values * slope + intercept


def _between(values: Values, low: int | float, high: int | float) -> Values:
    """0 at `low` and below, 1 at `high` and above."""
    return np.clip((values - low) / max(high - low, 1e-30), 0, 1)


def _percentiles(values: Values, stored: Stored, padding: Shaped[np.ndarray, "value"]) -> tuple[float, float]:
    """The lowest values that 1 % and 99 % of the pixels, without padding, do not exceed."""
    counts = np.zeros(len(values), np.int64)
    for start in range(0, len(stored), STRIP_ROWS):
        counts += np.bincount(stored[start : start + STRIP_ROWS].ravel(), minlength=len(values))
    counts[padding] = 0
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    places = [
        np.searchsorted(below, max(percent / 100 * below[-1], 1))
        for percent in (LOW_PERCENTILE, HIGH_PERCENTILE)
    ]
    low, high = (float(values[order][min(place, len(order) - 1)]) for place in places)
    return low, high


def _by_own_window(header: Header, values: Values) -> Values:
    """By the VOI LUT of the file, else its first window, else all that its bits can hold."""
    tags = header.tags
    if tags.get("VOILUTSequence"):
        item, whole = tags.VOILUTSequence[0], np.rint(values).astype(np.int64)
        levels, bits = look_up_entries(whole, item.get("LUTDescriptor"), item.get("LUTData"), header)
        return np.minimum(levels / (2.0**bits - 1), 1)  # some have entries of more bits than they say
    if tags.get("WindowWidth") is None or tags.get("WindowCenter") is None:
        return _between(values, float(values.min()), float(values.max()))
    center, width = _number(tags, "WindowCenter"), _number(tags, "WindowWidth")
    function = str(tags.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise UnfitError("is a DICOM file with a VOILUTFunction that is not known", _EXPORT)
    if width < 1 and (function == "LINEAR" or width <= 0):
        raise UnfitError("is a DICOM file with a WindowWidth that is too small", _EXPORT)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _is_padding(header: Header, values: Int64[np.ndarray, "value"]) -> Shaped[np.ndarray, "value"]:
    """Which values are no part of the image, but fill the square around it."""
    first = _padding(header, "PixelPaddingValue")
    if first is None:
        return np.zeros(len(values), bool)
    last = _padding(header, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    return (values >= low) & (values <= high)


def _padding(header: Header, name: str) -> int | None:
    """A padding value, of the sign that the pixels have whatever type the file states for it."""
    value = header.tags.get(name)
    if value is None or value == "":
        return None
    try:
        number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    except (TypeError, ValueError):
        raise UnfitError(f"is a DICOM file with a {name} that is no number", _EXPORT) from None
    if header.is_signed and number >= 2**15:
        return number - 2**16
    return number % 2**16 if not header.is_signed and number < 0 else number


def _number(tags: Any, name: str, default: float | None = None) -> float:
    """The first number of a tag; UnfitError for anything else."""
    value = tags.get(name)
    if hasattr(value, "__getitem__") and not isinstance(value, str) and len(value):
        value = value[0]
    value = default if value is None or value == "" else value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not abs(number) < 1e9:
        raise UnfitError(f"is a DICOM file with a {name} that is no number", _EXPORT)
    return number


def describe_rules(window: Any, counts: Mapping[str, int]) -> str:
    """The rule of a data set in words; `counts` are numbers of images by field of LoadCounts."""
    low, high = _limits(window)
    rules = {
        "hounsfield": f"CT from {low} to {high} HU",
        "given_window": f"values from {low} to {high}",
        "own_window": "each file's own window, or all its bits",
        "percentiles": f"MR from each image's {LOW_PERCENTILE}st to its {HIGH_PERCENTILE}th percentile",
        "colored": "colors as they are",
    }
    return "; ".join(text for name, text in rules.items() if counts.get(name))
