"""A sweep chooses by validation parts alone, and nothing is computed of a test part but of the chosen one's, once."""

import csv
import dataclasses

import numpy as np
import pytest

import medjax
from medjax.errors import DivergedError, RefusedError
from medjax.jobs import score_folds
from medjax.jobs.train import train
from medjax.scale import sweep as module
from medjax.scale.sweep import choose, sweep
from tests.configs import plain
from tests.finished_runs import assert_same_result
from tests.scale.here import Here, use

CONFIG = plain(epochs=2, baselines=False)
GRID = {"learning_rate": [1e-5, 3e-3]}
SEEDS = (1, 0)


@pytest.fixture(scope="module")
def swept(phantom_folder, tmp_path_factory):
    """A sweep; for each set of images that was predicted, how many they were and how many configurations were done."""
    predicted, predict = [], score_folds.predict

    def note(learner, variables, arrays, indices):
        predicted.append(np.asarray(indices).copy())
        return predict(learner, variables, arrays, indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_folds, "predict", note)
        engine = use(patch, Here(), module)
        directory = tmp_path_factory.mktemp("sweeps") / "sweep"
        found = sweep(phantom_folder, GRID, CONFIG, seeds=SEEDS, run_dir=directory)
    return found, engine.asked, predicted


def test_the_best_by_validation_is_chosen_and_it_alone_is_scored_on_test(swept, phantom_folder, tmp_path):
    found, asked, predicted = swept
    fits = [f"config_00{number}-seed_000{seed}" for number in (0, 1) for seed in SEEDS]
    assert asked == [*fits, "chosen-seed_0001", "chosen-seed_0000"]
    assert found.metrics["chosen"] == 1
    # Four val parts; then val, train and test of the two chosen runs. No test image was predicted before.
    split = {
        seed: medjax.split(medjax.load(phantom_folder, medjax.TrainConfig(data=CONFIG.data).data), seed=seed)
        for seed in SEEDS
    }
    expected = [split[seed].val for _ in GRID["learning_rate"] for seed in SEEDS]
    assert all(np.array_equal(mine, its) for mine, its in zip(predicted, expected, strict=False))
    assert len(predicted) == 4 + 2 * 3
    # The chosen runs are those of train.
    config = plain(epochs=2, baselines=False, learning_rate=3e-3, seed=1)
    assert_same_result(found.runs[0], train(phantom_folder, config, run_dir=tmp_path / "alone"))


def test_nothing_of_the_test_part_is_written_of_the_others(swept):
    found = swept[0]
    for seed in SEEDS:
        run = medjax.load_run(found.directory / "config_000" / f"seed_000{seed}")
        assert run.metrics.keys() == {"val", "training"}
        with open(run.directory / "predictions.csv", encoding="utf-8", newline="") as file:
            assert {row["split"] for row in csv.DictReader(file)} == {"val"}


def test_the_table_has_a_row_for_each_fit(swept):
    found = swept[0]
    with open(found.directory / "sweep.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["configuration"], row["learning_rate"], row["seed"], row["chosen"]) for row in rows] == [
        ("0", "1e-05", "1", "no"), ("0", "1e-05", "0", "no"), ("1", "0.003", "1", "yes"), ("1", "0.003", "0", "yes"),
    ]  # fmt: skip
    assert [row["test_accuracy"] == "" for row in rows] == [True, True, False, False]
    means = [each["mean"]["loss"] for each in found.metrics["configurations"]]
    for number, mean in enumerate(means):
        of_one = [float(row["val_loss"]) for row in rows if row["configuration"] == str(number)]
        assert sum(of_one) / 2 == pytest.approx(mean, rel=1e-12)
    page = (found.directory / "report.html").read_text()
    assert 'href="config_001/seed_0001/report.html"' in page
    assert "config_000/" not in page


def test_it_is_continued_as_it_was_begun(swept, phantom_folder, tmp_path, monkeypatch):
    def stop(path):
        if path.stem == "chosen-seed_0001":
            raise KeyboardInterrupt

    options = {"seeds": SEEDS, "run_dir": tmp_path / "sweep", "resume": True}
    use(monkeypatch, Here(stop), module)
    with pytest.raises(KeyboardInterrupt):
        sweep(phantom_folder, GRID, CONFIG, **options)
    for grid, seeds in (({"learning_rate": [1e-5]}, SEEDS), (GRID, (0, 1, 2))):
        with pytest.raises(
            RefusedError, match="was begun with another number of configurations, or other seeds"
        ):
            sweep(phantom_folder, grid, CONFIG, **{**options, "seeds": seeds})
    with pytest.raises(RefusedError, match="was begun with other settings"):
        sweep(phantom_folder, {"learning_rate": [1e-5, 1e-3]}, CONFIG, **options)
    engine = use(monkeypatch, Here(), module)
    found = sweep(phantom_folder, GRID, CONFIG, **options)
    assert engine.asked == ["chosen-seed_0001", "chosen-seed_0000"]
    assert found.metrics["test"] == swept[0].metrics["test"]


def test_a_finished_one_is_continued_to_the_same_choice(phantom_folder, tmp_path, monkeypatch):
    """Though the val part of the chosen run is by then scored after calibration."""
    options = {"run_dir": tmp_path / "sweep", "resume": True}
    config = dataclasses.replace(CONFIG, epochs=1, calibrate="temperature", fractions=(0.5, 0.25, 0.25))
    use(monkeypatch, Here(), module)
    first = sweep(phantom_folder, GRID, config, **options)
    engine = use(monkeypatch, Here(), module)
    again = sweep(phantom_folder, GRID, config, **options)
    assert engine.asked == []
    assert {**again.metrics, "seconds": None} == {**first.metrics, "seconds": None}
    with pytest.raises(RefusedError, match=r"was chosen by loss already, .* \(give --choose-by loss"):
        sweep(phantom_folder, GRID, config, **options, choose_by="auc")


def test_a_score_decides_and_the_first_of_equal_ones():
    def scored(loss, area):
        return {"mean": {"loss": loss, "auc": area, "balanced_accuracy": None}}

    configurations = [{"mean": None}, scored(0.5, 0.7), scored(0.4, 0.9), scored(0.4, 0.9), scored(None, 0.8)]
    assert choose(configurations, "loss") == 2
    assert choose(configurations, "auc") == 2
    with pytest.raises(DivergedError, match="no configuration has a balanced accuracy"):
        choose(configurations, "balanced_accuracy")


def test_sets_take_a_part_that_does_not_choose(phantom_folder):
    with pytest.raises(
        RefusedError, match=r"--coverage: .*chooses the configuration.*--conformal-share 0\.1"
    ):
        sweep(phantom_folder, GRID, plain(coverage=0.9))
