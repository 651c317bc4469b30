"""What a setting declares: its range in numbers and words, and when it has an effect."""

import dataclasses
import math

import pytest

from medjax.settings import Configuration, Setting, entries, flag_of, flags_for, kinds_of, setting


@dataclasses.dataclass(frozen=True)
class Inner(Configuration):
    """A nested configuration."""

    share: float = setting(0.5, "data", at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Outer(Configuration):
    """A configuration."""

    count: int = setting(3, "general", unit="images", at_least=1)
    bounds: tuple[float, ...] = (1.0,)
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("bounds", "words", "inside", "outside"),
    [
        ({"at_least": 1, "at_most": 9999}, "1 to 9999", (1, 9999), (0, 10000)),
        ({"at_least": 0, "at_most": 2**32 - 1}, "0 to 4294967295", (0, 2**32 - 1), (-1, 2**32)),
        ({"at_least": 0, "below": 1}, "0 to less than 1", (0, 0.999), (-0.1, 1.0)),
        ({"above": 0, "below": 1}, "more than 0 to less than 1", (0.5,), (0, 1)),
        ({"at_least": 2}, "at least 2", (2, 1e9), (1, math.inf)),
        ({"above": 0}, "more than 0", (1e-9,), (0.0, math.inf)),
        ({}, "a finite number", (-1e9, 1e9), (-math.inf, math.inf)),
    ],
)
def test_a_range_is_checked_and_told_in_words(bounds, words, inside, outside):
    declared = Setting("data", **bounds)
    assert declared.limits == words
    assert all(declared.is_in_range(number) for number in inside)
    assert not any(declared.is_in_range(number) for number in (*outside, math.nan))


def test_a_setting_has_an_effect_where_what_it_needs_is_set():
    declared = Setting("plateau", needs=("optimizer", "sgd", "lion"))
    assert declared.has_effect({"optimizer": "lion"})
    assert not declared.has_effect({"optimizer": "adam"})
    assert declared.has_effect({})  # nothing is known of the other
    assert Setting("plateau").has_effect({"optimizer": "adam"})


def test_entries_are_the_fields_in_order_with_nested_ones_in_their_place():
    found = list(entries(Outer(count=5)))
    assert [(entry.name, entry.kind, entry.value) for entry in found] == [
        ("count", int, 5),
        ("bounds", tuple[float, ...], (1.0,)),
        ("share", float, 0.5),
    ]
    assert found[0].setting == Setting("general", unit="images", at_least=1)
    assert found[1].setting is None
    assert kinds_of(Inner) == {"share": float}


def test_a_nested_configuration_of_another_type_is_an_entry_of_its_own():
    assert [entry.name for entry in entries(Outer(inner=3))] == ["count", "bounds", "inner"]


def test_whole_numbers_become_floats_where_a_float_is_declared():
    made = Outer(bounds=[1, 2], inner=Inner(share=0))
    assert (made.bounds, [type(each) for each in made.bounds]) == ((1.0, 2.0), [float, float])
    assert type(made.inner.share) is float
    assert Inner(share=10**400).share == 10**400  # too large: left for the checks
    assert Inner(share=True).share is True


def test_a_flag_is_the_name_with_hyphens():
    assert flag_of("batch_size") == "--batch-size"


@dataclasses.dataclass(frozen=True)
class Every(Configuration):
    """A setting of each kind."""

    count: int = 3
    is_on: bool = True
    is_off: bool = False
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = (1, 2)
    limit: float | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_flags_say_what_differs_from_the_defaults():
    assert flags_for(Every(), Every()) == []
    config = Every(
        count=4,
        is_on=False,
        is_off=True,
        words=("a b", "-c"),
        numbers=(3, 4),
        limit=-1e-5,
        inner=Inner(share=0.25),
    )
    assert flags_for(config, Every()) == [
        "--count", "4", "--no-is-on", "--is-off", "--words", "a b", "--words=-c", "--numbers", "3", "4",
        "--limit=-1e-05", "--share", "0.25",
    ]  # fmt: skip
    assert flags_for(Every(), Every(limit=2.0)) == ["--limit", "None"]
