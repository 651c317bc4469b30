"""Leakage, examples and baselines of a run, found while it trains."""

import os
import sys
import threading

import numpy as np
import pytest

from medjax.config import CrossvalConfig
from medjax.data.from_arrays import make_dataset
from medjax.jobs import beside_training
from medjax.jobs.baselines import Baselines, fit_baselines
from medjax.jobs.beside_training import BesideTraining
from medjax.jobs.from_config import make_splits
from medjax.jobs.run_record import describe_leakage
from medjax.progress import Display
from tests.configs import plain
from tests.tiny import make_images

CONFIG = plain(augment=False)
DATASET = make_dataset(*make_images(), ["level", "upright"])
SPLITS = make_splits(CONFIG, DATASET)


def test_it_is_found_once_whether_it_was_begun_or_not():
    with BesideTraining(CONFIG, DATASET, SPLITS) as beside:
        found = beside.result()
        beside.start()
        assert beside.result() is found
    assert found.leakage == describe_leakage(CONFIG, DATASET, SPLITS)
    assert DATASET.labels[found.examples.samples].tolist() == [0, 1]
    assert np.isin(found.examples.samples, SPLITS[0].train).all()
    assert (found.examples.augmented, found.examples.failures) == (None, {})


def test_what_goes_wrong_is_raised_where_it_is_asked_for(monkeypatch):
    def fail(*_):
        raise MemoryError("leakage")

    monkeypatch.setattr(beside_training, "describe_leakage", fail)
    with BesideTraining(CONFIG, DATASET, SPLITS) as beside:
        beside.start()
        with pytest.raises(MemoryError, match="leakage"):
            beside.result()


def test_leaving_does_not_wait_for_it(monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr(beside_training, "describe_leakage", lambda *_: may_end.wait(60))
    with BesideTraining(CONFIG, DATASET, SPLITS) as beside:
        beside.start()
    assert not beside._found.done()
    may_end.set()
    assert beside.result().leakage is True


def test_baselines_are_those_of_a_fit_of_their_own():
    with BesideTraining(CONFIG, DATASET, SPLITS) as beside, Display(is_quiet=True) as display:
        beside.start()
        found = beside.baselines(0, display)
        again = beside.baselines(0, display)
    expected = fit_baselines(CONFIG, DATASET, SPLITS, 0, display.advance)
    assert again is found
    assert found.image_shape == expected.image_shape
    for name, baseline in expected.predicted.items():
        np.testing.assert_array_equal(found.predicted[name].predicted, baseline.predicted)


def test_those_of_another_repeat_are_fitted_when_asked_for(monkeypatch):
    repeats = []

    def fit(*arguments):
        repeats.append(arguments[3])
        return Baselines({}, [])

    monkeypatch.setattr(beside_training, "fit_baselines", fit)
    config = CrossvalConfig(folds=2, repeats=2, training=CONFIG)
    splits = make_splits(config, DATASET)
    with BesideTraining(config, DATASET, splits) as beside, Display(is_quiet=True) as display:
        beside.baselines(1, display)
    assert 1 in repeats


def test_leaving_ends_the_baselines_between_two_fits(monkeypatch):
    may_go_on, told = threading.Event(), []

    def fit(*arguments):
        for number in range(2):
            assert may_go_on.wait(60)
            arguments[-1](number, 2, "fits")
            told.append(number)

    monkeypatch.setattr(beside_training, "fit_baselines", fit)
    with BesideTraining(CONFIG, DATASET, SPLITS) as beside:
        beside.start()
        beside.result()
    may_go_on.set()
    assert isinstance(beside._baselines.exception(60), beside_training._LeftError)
    assert told == []


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
def test_the_thread_gives_way_to_training():
    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    with BesideTraining(CONFIG, DATASET, SPLITS) as beside:
        inside = beside._thread.submit(priority).result()
    assert inside == max(before, beside_training._NICENESS)
    assert priority() == before
