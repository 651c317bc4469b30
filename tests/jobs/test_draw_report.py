import dataclasses

import numpy as np
import pytest

from medjax.data.from_arrays import make_dataset
from medjax.data.phantom.dataset import make_phantom
from medjax.jobs import draw_report
from medjax.jobs.draw_report import make_augmented
from medjax.jobs.train import train
from medjax.report.figures import draw
from tests.configs import plain
from tests.pages import Page
from tests.tiny import make_images

ORIGINALS = make_phantom(images_per_class=2).images[:3, ::2, ::2]


def test_augmented_are_random_and_follow_from_the_seed():
    augmented = make_augmented(ORIGINALS, plain(), count=4)
    assert augmented.shape == (3, 4, *ORIGINALS.shape[1:])
    assert 0 <= augmented.min() <= augmented.max() <= 1.0001
    assert not np.array_equal(augmented[0, 0], augmented[0, 1])
    assert np.array_equal(augmented, make_augmented(ORIGINALS, plain(), count=4))
    assert not np.array_equal(augmented, make_augmented(ORIGINALS, plain(seed=1), count=4))


def test_where_training_sees_images_unchanged_there_are_none():
    assert make_augmented(ORIGINALS, dataclasses.replace(plain(), augment=False)) is None


def test_a_cross_validation_has_the_figures_of_a_run(crossval_run):
    names = {path.stem for path in (crossval_run.directory / "figures").iterdir()}
    of_predictions = {"confusion_matrix", "errors", "unsure", "ranking", "reliability"}
    assert names == {"curves", "samples", "augmented", "maps", *of_predictions}


def test_a_figure_that_fails_costs_the_run_neither_its_page_nor_its_end(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise TypeError("no such figure")

    for name in ("plot_curves", "plot_ranking", "plot_reliability"):
        monkeypatch.setattr(draw, name, fail)
    for name in (
        "plot_samples",
        "plot_augmented",
        "plot_confusion_matrix",
        "plot_errors",
        "plot_unsure",
        "plot_maps",
    ):
        monkeypatch.setattr(draw.plots, name, fail)
    monkeypatch.setattr(draw_report, "make_augmented", fail)
    dataset = make_dataset(*make_images(), ["level", "upright"])
    config = plain(epochs=1, block_features=(4,), hidden_units=4, baselines=False)
    with pytest.warns(UserWarning, match=r"report\.html goes without the figure augmented \(TypeError: no"):
        trained = train(dataset, config, run_dir=tmp_path / "run")
    assert trained.record["status"] == "done"
    assert list((tmp_path / "run" / "figures").iterdir()) == []
    text = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text
    assert "The figure curves.png was left out, because an error stopped its drawing." in text
    assert text.count("was left out, because an error") >= 7
    assert "This section was left out" not in text
