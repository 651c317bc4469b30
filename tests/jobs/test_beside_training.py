"""Leakage and examples of a run, found while it trains."""

import threading

import numpy as np
import pytest

from medjax.config import TrainConfig
from medjax.data.from_arrays import make_dataset
from medjax.jobs import beside_training
from medjax.jobs.beside_training import BesideTraining
from medjax.jobs.from_config import make_splits
from medjax.jobs.run_record import describe_leakage
from tests.tiny import make_images

CONFIG = TrainConfig(augment=False)
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
