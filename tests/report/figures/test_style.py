"""Names and probabilities that fit into a figure."""

import pytest

from medjax.report.figures.style import apart, probability, short, wrapped

LONG_NAME = "squamous cell carcinoma of the lung, stage 3"


def test_short_names_keep_both_ends() -> None:
    assert short("CXR", 3) == "CXR"
    assert short("a/very/long/path/000017.png", 14) == "a/very…017.png"
    assert all(len(short("x" * 40 + "y" * 40, limit)) == limit for limit in range(3, 30))


@pytest.mark.parametrize("name", [LONG_NAME, "x" * 90, "", "a", "one two three four five six seven eight"])
def test_wrapped_names_take_two_lines(name: str) -> None:
    lines = wrapped(name, 16).split("\n")
    assert len(lines) <= 2
    assert all(len(line) <= 16 for line in lines)


def test_wide_letters_take_the_place_of_two() -> None:
    assert short("肺" * 20, 20) == f"{'肺' * 4}…{'肺' * 5}"
    assert wrapped("肺" * 16, 16) == f"{'肺' * 8}\n{'肺' * 8}"
    assert len(wrapped("肺" * 60, 16).split("\n")) == 2


def test_a_name_that_is_read_from_the_right_leaves_its_line_in_order() -> None:
    assert apart("CXR") == "CXR"
    assert apart("صورة") == "\u200eصورة\u200e"


def test_probabilities_are_never_rounded_to_certainty() -> None:
    assert [probability(p) for p in (0.0, 1e-9, 0.5, 0.994, 0.9999, 1.0)] == [
        "0.00",
        "<0.01",
        "0.50",
        "0.99",
        ">0.99",
        "1.00",
    ]
