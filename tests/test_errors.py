from medjax.errors import Problem, RefusedError, counted, described, listed, printable, refuse


def test_a_refusal_names_file_reason_and_remedy_on_one_line():
    error = refuse("scan.png", "is truncated", "restore it")
    assert error.lines() == ["scan.png: is truncated (restore it)"]
    assert str(error) == "scan.png: is truncated (restore it)"


def test_a_long_list_is_cut_and_counted():
    error = RefusedError(Problem(f"{index}.png", "is bad", "remove it") for index in range(25))
    lines = error.lines()
    assert len(lines) == 21
    assert lines[-1] == "… and 5 more"
    assert len(error.problems) == 25


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
