import subprocess

import pytest

from medjax.errors import (
    Problem,
    RefusedError,
    command_line,
    counted,
    described,
    is_unicode,
    listed,
    printable,
    refusal_of,
    refuse,
    refusing_memory,
)


def test_a_refusal_names_file_reason_and_remedy_on_one_line():
    error = refuse("scan.png", "is truncated", "restore it")
    assert error.lines() == ["scan.png: is truncated (restore it)"]
    assert str(error) == "scan.png: is truncated (restore it)"


def test_a_long_list_shows_some_of_each_reason_and_is_counted():
    reasons = ["is bad"] * 18 + ["is worse"] * 6 + ["is gone"]
    error = RefusedError(Problem(f"{index}.png", why, "remove it") for index, why in enumerate(reasons))
    lines = error.lines()
    shown = [0, 1, 2, 18, 19, 20, 24]
    assert lines == [*(str(error.problems[index]) for index in shown), "… 25 problems in all"]
    assert len(error.problems) == 25


def test_of_many_reasons_the_first_are_shown():
    error = RefusedError(Problem("a.png", f"is bad in way {way}", "remove it") for way in range(3000))
    assert len(error.lines()) == 21
    assert error.lines()[-1] == "… 3,000 problems in all"


def test_control_characters_do_not_reach_the_terminal():
    line = refuse("a\x1b[31m\nb\udc80.png", "is bad", "remove it").lines()[0]
    assert line == "a\\x1b[31m\\nb\\udc80.png: is bad (remove it)"
    assert printable("Größe 肺") == "Größe 肺"


def test_one_of_a_kind_is_named_in_the_singular():
    assert [counted(n, "error") for n in (0, 1, 2520)] == ["0 errors", "1 error", "2,520 errors"]
    assert [counted(n, "class") for n in (1, 2)] == ["1 class", "2 classes"]


def test_an_exception_is_described_in_one_line():
    assert described(TypeError("no interval\nat all")) == "TypeError: no interval"
    assert described(ZeroDivisionError()) == "ZeroDivisionError"


def test_listed_names_are_cut_and_counted():
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg"), limit=3) == "a, b, c and 4 more"


def test_half_a_character_is_no_unicode():
    assert is_unicode("Größe 肺 🫁")
    assert not is_unicode("scan\udcff")


def test_a_command_can_be_pasted_whatever_its_words_hold():
    words = ["medjax", "my data", "it's", "\x1b[31m\r", "a\\\u202eb", "'\t7"]
    line = command_line(words)
    assert line.isprintable()
    assert line.startswith("medjax 'my data' ")
    given = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    assert given.decode().split("\0")[:-1] == words
    assert command_line(["a\udcff", "\ud800"]) == "$'a\\377' $'\\077'"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."),
            ": 8.0 GiB cannot be",
        ),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12.50GiB."), ": 12.50 GiB"),
        (
            MemoryError("Unable to allocate 15.6 TiB for an array with shape (2000,)"),
            ": 15.6 TiB cannot be had",
        ),
        (MemoryError(), ""),
    ],
)
def test_a_lack_of_memory_is_one_line(error, reason):
    expected = f"training: does not fit into memory{reason}"
    with pytest.raises(RefusedError) as refused, refusing_memory("training", "lower --batch-size"):
        raise error
    assert str(refused.value).startswith(expected)
    assert str(refused.value).endswith("(lower --batch-size)")
    assert str(refusal_of(error)).startswith(f"memory: does not fit into memory{reason}")


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="a bug"), refusing_memory("training", "lower --batch-size"):
        raise RuntimeError("a bug")
    assert refusal_of(RuntimeError("a bug")) is None
    error = OSError(28, "No space left on device", "external/scores.json")
    assert str(refusal_of(error)).startswith(
        "external/scores.json: cannot be read or written (No space left on device) ("
    )
