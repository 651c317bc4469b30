"""A value passes a check, or the fault says where it is wrong and how."""

import math
from pathlib import Path

import pytest

from medjax.errors import RefusedError
from medjax.runs.schema import fields, flag, items, number, optional, plain, require, table, text, whole

PERSON = fields(
    {"name": text(), "age": whole(0, 150)}, {"children": items(text(), at_most=2), "height": number(0, 3)}
)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (text(choices=("a", "b")), "a"),
        (text(at_most=3), "abc"),
        (text(characters="abc"), "cab"),
        (whole(1, 3), 3),
        (number(0, 1), 1),
        (number(), -1e300),
        (flag, False),
        (optional(flag), None),
        (items(whole(0), at_most=2), [1, 2]),
        (table(flag), {"any": True}),
        (PERSON, {"name": "x", "age": 3}),
        (PERSON, {"name": "x", "age": 3, "children": ["y"], "height": 1, "of another version": []}),
        (plain, {"a": [1, 2.5, "x", None, True, {"b": []}]}),
    ],
)
def test_what_is_meant_passes(check, value):
    assert check(value) is None


@pytest.mark.parametrize(
    ("check", "value", "where", "reason"),
    [
        (text(), 3, "", "is 3, no text"),
        (text(at_most=3), "abcd", "", "has 4 characters, more than 3"),
        (text(choices=("a", "b")), "c", "", "is 'c', not a, b"),
        (text(characters="abc"), "abd", "", "is 'abd'"),
        (text(), "\ud800", "", "holds half a character"),
        (whole(1, 3), 4, "", "is 4, not 1 to 3"),
        (whole(1, 3), True, "", "is True, no whole number"),
        (whole(1, 3), 2.0, "", "is 2.0, no whole number"),
        (number(0, 1), math.nan, "", "is nan, no finite number"),
        (number(0, 1), 1.5, "", "is 1.5, not 0 to 1"),
        (number(0, 1), True, "", "is True, no finite number"),
        (flag, 1, "", "is 1, no true or false"),
        (optional(flag), 1, "", "is 1, no true or false"),
        (items(flag, at_least=2), [True], "", "has 1 values, not 2 to 1,000,000"),
        (items(flag), "ab", "", "is 'ab', no list"),
        (items(items(flag)), [[], [True, 3]], "[1][1]", "is 3, no true or false"),
        (table(flag), {"a": 1}, ".a", "is 1, no true or false"),
        (table(flag, at_most=1), {"a": True, "b": True}, "", "has 2 names, more than 1"),
        (PERSON, [], "", "is [], no object"),
        (PERSON, {"name": "x"}, ".age", "is missing"),
        (PERSON, {"name": "x", "age": 3, "children": ["y", 4]}, ".children[1]", "is 4, no text"),
        (plain, {"a": [math.inf]}, ".a[0]", "is inf"),
        (plain, {"\ud800": 1}, ".\\ud800", "holds half a character"),
        (plain, [10**400], "[0]", None),
    ],
)
def test_what_is_not_meant_is_named(check, value, where, reason):
    fault = check(value)
    assert fault is not None
    assert fault.where == where
    assert len(fault.reason) < 100
    assert reason in (None, fault.reason)


def test_a_value_that_is_too_deep_is_named():
    deep = []
    for _ in range(100):
        deep = [deep]
    assert "levels deep" in plain(deep).reason


def test_the_refusal_names_the_file_and_the_field():
    with pytest.raises(
        RefusedError, match=r"^run\.json: age is 200, not 0 to 150 \(restore it from a copy\)$"
    ):
        require(PERSON, {"name": "x", "age": 200}, Path("run.json"))
