"""Images that cannot be used: what is refused, what is left out."""

import pytest

from medjax.config import DataConfig
from medjax.data.bad_images import emptied_classes, refused_bad, warn_of_bad
from medjax.data.reading.layout import ImageEntry
from medjax.errors import Problem

BAD = [Problem(f"{n}.png", "is empty", "copy it again") for n in range(4)]
SKIPPING = DataConfig(skip_bad=True, max_bad=0.04)


def test_all_are_refused_unless_they_may_be_left_out():
    assert refused_bad([], 100, DataConfig()) == []
    assert refused_bad(BAD[:1], 100, DataConfig()) == BAD[:1]
    hint, *others = refused_bad(BAD, 1000, DataConfig())
    assert str(hint) == "4 of 1,000 images: cannot be used (mend them, or leave them out: --skip-bad)"
    assert others == BAD


def test_nothing_is_offered_where_most_images_are_bad():
    assert refused_bad(BAD, 4, DataConfig()) == BAD


@pytest.mark.parametrize(("total", "is_refused"), [(100, False), (99, True)])
def test_the_limit_is_a_fraction(total, is_refused):
    assert bool(refused_bad(BAD, total, SKIPPING)) == is_refused


def test_the_fraction_that_is_offered_is_enough():
    for total in (30, 61, 99):
        remedy = refused_bad(BAD, total, SKIPPING)[0].remedy
        enough = float(remedy.rpartition(" ")[2])
        assert refused_bad(BAD, total, DataConfig(skip_bad=True, max_bad=enough)) == []


def test_classes_and_parts_that_would_be_empty_are_named():
    images = [
        ImageEntry(str(n), n, name, part)
        for n, (part, name) in enumerate([("train", "a"), ("test", "a")] * 2)
    ]
    assert emptied_classes(images, [0, 1]) == []
    assert [problem.name for problem in emptied_classes(images, [1, 2, 3])] == ["test/a"]
    assert [
        problem.name for problem in emptied_classes([each._replace(part="") for each in images], range(4))
    ] == ["a"]


def test_what_is_left_out_is_warned_of():
    with pytest.warns(
        UserWarning, match=r"^set: 4 of 9 images .* left out: 0.png: is empty \(copy it again\); and 3 more$"
    ):
        warn_of_bad("set", BAD, 9)
    warn_of_bad("set", [], 9)
