"""Runs that differ only in their seed: what does not depend on it is read, made and compiled once."""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_MADE: ContextVar[dict[Hashable, Any] | None] = ContextVar("made", default=None)


class Same:
    """An object as a part of a key, by its identity; it is kept, so that no other takes its place in memory."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __hash__(self) -> int:
        return id(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other._value is self._value


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Within this context `once` keeps what it makes."""
    token = _MADE.set({})
    try:
        yield
    finally:
        _MADE.reset(token)


def once(what: Hashable, make: Callable[[], T]) -> T:
    """What `make` returns; within `sharing`, what it returned for the same the first time."""
    made = _MADE.get()
    if made is None:
        return make()
    if what not in made:
        made[what] = make()
    return made[what]
