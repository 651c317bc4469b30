"""Fits are asked for until their directories verify, and no longer than that makes sense."""

import pytest

from medjax.errors import Problem, RefusedError
from medjax.progress import Display
from medjax.scale import do_fits as module
from medjax.scale.answers import Answer, write_answer
from medjax.scale.description import read_description
from medjax.scale.do_fits import ATTEMPTS, FitSet, do_fits, prepare
from tests.scale.test_description import describe


class Noting:
    """An engine that notes what it was asked for."""

    def __init__(self, act=lambda path: None):
        self.asked, self._act = [], act

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, fits, tell):
        self.asked.append([path.stem for path in fits])
        for path in fits:
            self._act(path)
            tell(path)


@pytest.fixture
def fits(tmp_path):
    return [describe(tmp_path, path=tmp_path / f"{name}.json", run=name) for name in "abc"]


def finish_by(monkeypatch, finished):
    monkeypatch.setattr(module, "is_finished", lambda fit: fit.path.stem in finished)


def ask(fits, engine):
    with Display(is_quiet=True) as display:
        do_fits(FitSet(fits, "fits"), engine, display)


def test_only_what_is_not_finished_is_asked_for_and_asked_for_again(fits, monkeypatch):
    finished, calls = {"a"}, []

    def act(path):
        calls.append(path.stem)
        if path.stem == "b" or calls.count(path.stem) == 2:
            finished.add(path.stem)

    finish_by(monkeypatch, finished)
    engine = Noting(act)
    ask(fits, engine)
    assert engine.asked == [["b", "c"], ["c"]]


def test_a_fit_that_never_ends_well_is_given_up_with_the_reason(fits, monkeypatch):
    finish_by(monkeypatch, {"a", "b"})
    engine = Noting()
    with pytest.raises(RefusedError, match=r"c: holds no run yet \(see the logs in .*, then continue"):
        ask(fits, engine)
    assert engine.asked == [["c"]] * ATTEMPTS


def test_what_is_refused_is_not_asked_for_again(fits, monkeypatch):
    finish_by(monkeypatch, {"a", "b"})
    problem = Problem("--positive", "is no class", "name one")
    engine = Noting(lambda path: write_answer(path, Answer("refused", (problem,))))
    with pytest.raises(RefusedError) as caught:
        ask(fits, engine)
    assert caught.value.problems == (problem,)
    assert engine.asked == [["c"]]


def test_descriptions_are_written_and_when_continued_compared(fits, tmp_path):
    prepare(fits[:2], is_continued=False)
    assert read_description(fits[1].path) == fits[1]
    prepare(fits, is_continued=True)
    assert fits[2].path.exists()
    other = describe(tmp_path, path=fits[0].path, run="a", threads=2)
    with pytest.raises(RefusedError, match="other threads a fit"):
        prepare([other], is_continued=True)
