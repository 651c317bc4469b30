"""Say once what a JSON file of a run may hold, and check a stranger's file against it.

A check takes a value and returns None, or a `Fault`: where in the value something is wrong, and what. Checks are put
together from those of this module; `medjax.runs.formats` declares the files of a run with them.
"""

import math
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medjax.errors import refuse

RESTORE = "restore it from a copy"
_LARGEST_WHOLE = 2**63 - 1
_DEEPEST = 32  # levels of a value


class Fault(NamedTuple):
    """What is wrong with a value."""

    where: str  # such as .data.image_shape[2]; "" for the value itself
    reason: str


Check = Callable[[Any], Fault | None]


def require(check: Check, value: Any, path: Path) -> None:
    """RefusedError, naming the file and the field, unless the value passes."""
    fault = check(value)
    if fault is not None:
        raise refuse(path, f"{fault.where.lstrip('.')} {fault.reason}".strip(), RESTORE)


def plain(value: Any, depth: int = 0) -> Fault | None:
    """Anything that medjax itself would have written: finite numbers of 64 bits, text that UTF-8 has, not too deep."""
    if isinstance(value, str):
        return text()(value)
    if isinstance(value, int):
        return None if abs(value) <= _LARGEST_WHOLE else Fault("", f"is {reprlib.repr(value)}, too large")
    if isinstance(value, float):
        return None if math.isfinite(value) else Fault("", f"is {value}")
    if depth == _DEEPEST and isinstance(value, list | dict):
        return Fault("", f"is more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return _first((f"[{index}]", plain(each, depth + 1)) for index, each in enumerate(value))
    if isinstance(value, dict):
        return _first(
            (f".{reprlib.repr(name)[1:-1]}", plain(name) or plain(each, depth + 1))
            for name, each in value.items()
        )
    return None


def text(at_most: int = 2**20, choices: Collection[str] = (), characters: str = "") -> Check:
    """Text of at most so many characters; one of `choices`, and made of `characters`, where these are given."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, str):
            return _is_no("text", value)
        if len(value) > at_most:
            return Fault("", f"has {len(value):,} characters, more than {at_most:,}")
        if choices and value not in choices:
            return Fault("", f"is {reprlib.repr(value)}, not {', '.join(choices)}")
        if characters and set(value) - set(characters):
            return Fault("", f"is {reprlib.repr(value)}")
        try:
            value.encode()
        except UnicodeEncodeError:
            return Fault("", "holds half a character")
        return None

    return check


def whole(low: int, high: int = _LARGEST_WHOLE) -> Check:
    """A whole number in a range, its ends included."""

    def check(value: Any) -> Fault | None:
        if type(value) is not int:
            return _is_no("whole number", value)
        return None if low <= value <= high else Fault("", f"is {value}, not {low} to {high}")

    return check


def number(low: int | float = -math.inf, high: int | float = math.inf) -> Check:
    """A finite number in a range, its ends included."""

    def check(value: Any) -> Fault | None:
        if type(value) not in (int, float) or not math.isfinite(value):
            return _is_no("finite number", value)
        return None if low <= value <= high else Fault("", f"is {value}, not {low} to {high}")

    return check


def flag(value: Any) -> Fault | None:
    """True or false."""
    return None if isinstance(value, bool) else _is_no("true or false", value)


def optional(check: Check) -> Check:
    """What `check` takes, or null."""
    return lambda value: None if value is None else check(value)


def items(check: Check, at_least: int = 0, at_most: int = 10**6) -> Check:
    """A list of a length in a range, each of whose values `check` takes."""

    def check_list(value: Any) -> Fault | None:
        if not isinstance(value, list):
            return _is_no("list", value)
        if not at_least <= len(value) <= at_most:
            return Fault("", f"has {len(value):,} values, not {at_least:,} to {at_most:,}")
        return _first((f"[{index}]", check(each)) for index, each in enumerate(value))

    return check_list


def table(check: Check, at_most: int = 10**5) -> Check:
    """An object with any names, each of whose values `check` takes."""

    def check_table(value: Any) -> Fault | None:
        if not isinstance(value, dict):
            return _is_no("object", value)
        if len(value) > at_most:
            return Fault("", f"has {len(value):,} names, more than {at_most:,}")
        return _first((f".{reprlib.repr(name)[1:-1]}", check(each)) for name, each in value.items())

    return check_table


def fields(required: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> Check:
    """An object that has the `required` names; `others` may be missing, and names that neither knows are let pass."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, dict):
            return _is_no("object", value)
        for name in required:
            if name not in value:
                return Fault(f".{name}", "is missing")
        known = {**required, **(others or {})}
        return _first((f".{name}", known[name](each)) for name, each in value.items() if name in known)

    return check


def _first(faults: Iterable[tuple[str, Fault | None]]) -> Fault | None:
    """The first fault of the parts of a value, which are given with their place in it."""
    return next((Fault(place + fault.where, fault.reason) for place, fault in faults if fault), None)


def _is_no(noun: str, value: Any) -> Fault:
    return Fault("", f"is {reprlib.repr(value)}, no {noun}")
