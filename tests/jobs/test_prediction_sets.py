"""Prediction sets of a run: made by images that training never saw, kept with the run, and made again."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from medjax.cli import main
from medjax.config import CrossvalConfig
from medjax.errors import RefusedError
from medjax.evaluation.prediction_sets import count_units, coverage_range, fit_sets
from medjax.jobs.from_config import conformal_parts, make_splits
from medjax.jobs.prediction_sets import (
    FILE,
    expected_range,
    fit_run_sets,
    make_sets,
    read_sets,
    require_coverage,
    require_sets,
    set_parts,
    write_sets,
)
from medjax.jobs.restored_run import load_run
from medjax.jobs.train import cross_validate, train
from medjax.records import Dataset
from tests.configs import plain
from tests.finished_runs import parameters_of
from tests.predicted import make_predictions
from tests.tiny import make_images

CONFIG = plain(
    coverage=0.8, conformal_share=0.2, epochs=1, baselines=False, augment=False, block_features=(4,)
)
CROSSVAL = CrossvalConfig(folds=2, training=CONFIG)


def make_dataset(n=120, *, group_size=1, split=None):
    images, labels = make_images(n)
    ids, digests = np.array([f"{i}.png" for i in range(n)]), np.zeros((n, 32), np.uint8)
    digests[:, :2] = np.arange(n).astype(np.uint16).view(np.uint8).reshape(-1, 2)
    dataset = Dataset(images, labels, ("a", "b"), ids, digests, "stripes", split=split)
    if group_size == 1:
        return dataset
    return dataset._replace(groups=(np.arange(n) // group_size).astype(str), grouped_by=("user",))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(make_dataset(), CONFIG, run_dir=tmp_path_factory.mktemp("sets") / "run")


@pytest.fixture(scope="module")
def crossval(tmp_path_factory):
    return cross_validate(make_dataset(), CROSSVAL, run_dir=tmp_path_factory.mktemp("sets") / "folds")


@pytest.mark.parametrize("config", [CONFIG, CROSSVAL], ids=["holdout", "folds"])
def test_the_part_is_taken_from_train_stratified(config):
    dataset = make_dataset()
    whole = make_splits(without_share(config), dataset)
    for before, after, part in zip(
        whole, make_splits(config, dataset), conformal_parts(config, dataset), strict=True
    ):
        assert np.array_equal(np.union1d(after.train, part), before.train)
        assert len(np.intersect1d(after.train, part)) == 0
        assert np.array_equal(after.test, before.test)
        assert np.array_equal(after.val, before.val)
        assert len(part) == pytest.approx(0.2 * len(before.train), abs=1)
        assert abs(np.diff(np.bincount(dataset.labels[part]))[0]) <= 1
    assert [len(part) for part in conformal_parts(without_share(config), dataset)] == [0] * len(whole)


def without_share(config):
    if isinstance(config, CrossvalConfig):
        return dataclasses.replace(config, training=without_share(config.training))
    return dataclasses.replace(config, conformal_share=0.0, coverage=None)


def test_groups_stay_together_and_fixed_parts_stay_as_they_are():
    parts = np.array(["train"] * 80 + ["val"] * 20 + ["test"] * 20)
    dataset = make_dataset(group_size=4, split=parts)
    (split,), (part,) = make_splits(CONFIG, dataset), conformal_parts(CONFIG, dataset)
    assert split.test.tolist() == list(range(100, 120))
    assert split.val.tolist() == list(range(80, 100))
    assert not set(dataset.groups[part]) & set(dataset.groups[split.train])
    assert 12 <= len(part) <= 20


def test_the_groups_of_a_run_count_as_one_each():
    predictions = make_predictions(n=40, shares=(0.5, 0.5))
    for dataset, units in ((make_dataset(40), 40), (make_dataset(40, group_size=4), 10)):
        assert count_units(fit_run_sets(CONFIG, dataset, {0: predictions})[0], 2) == [units]


def test_images_of_the_part_are_not_learned_from(run, tmp_path):
    """Noise in the place of the conformal images leaves the parameters the same to the last bit."""
    dataset = make_dataset()
    (part,) = conformal_parts(CONFIG, dataset)
    images = dataset.images.copy()
    images[part] = np.random.default_rng(0).integers(0, 255, images[part].shape)
    again = train(dataset._replace(images=images), CONFIG, run_dir=tmp_path / "run")
    assert all(map(np.array_equal, parameters_of(run), parameters_of(again)))
    assert again.metrics["test"]["accuracy"] == run.metrics["test"]["accuracy"]
    assert (again.directory / FILE).read_text() != (run.directory / FILE).read_text()


def test_a_run_keeps_its_scores_and_makes_its_sets_again(run):
    block, scores = run.metrics["prediction_sets"], run.metrics["test"]["prediction_sets"]
    (part,) = conformal_parts(CONFIG, make_dataset())
    assert (block["part"], block["sets"], block["coverage"]) == ("conformal", "lac", 0.8)
    assert block["folds"] == [{"fold": 0, "n": len(part), "units": [len(part)]}]
    assert sum(run.record["data"]["counts"]["conformal"].values()) == len(part)
    assert "20 % of the training images kept for prediction sets" in run.record["data"]["parts"]
    restored = load_run(run.directory)
    found = restored.evaluate(make_dataset())["test"]["prediction_sets"]
    assert found == {name: value for name, value in scores.items() if name != "expected_range"}
    assert len(scores["expected_range"]) == 2
    (split,) = make_splits(CONFIG, make_dataset())
    _, each = restored.predict_folds(make_dataset())
    sets = restored.prediction_sets(each, 0.8)[split.test]
    labels = make_dataset().labels[split.test]
    assert sets[np.arange(len(labels)), labels].mean() == scores["coverage"]
    page = (run.directory / "report.html").read_text()
    assert "Prediction sets" in page
    assert "with a probability of at least 80 %" in page


def test_each_fold_has_thresholds_of_its_own(crossval):
    dataset = make_dataset()
    assert [fold["fold"] for fold in crossval.metrics["prediction_sets"]["folds"]] == [0, 1]
    pooled = crossval.metrics["pooled"]["prediction_sets"]
    assert pooled["n"] == 120
    restored = load_run(crossval.directory)
    found = restored.evaluate(dataset)["test"]["prediction_sets"]
    assert {name: found[name] for name in ("coverage", "sizes")} == {
        name: pooled[name] for name in ("coverage", "sizes")
    }
    _, each = restored.predict_folds(dataset)
    conformals = read_sets(crossval.directory, CROSSVAL, 2)
    of_folds = [conformals[fold].sets(each[fold], 0.7) for fold in (0, 1)]
    assert np.array_equal(restored.prediction_sets(each, 0.7), of_folds[0] & of_folds[1])
    with pytest.warns(UserWarning, match="outside the range"):
        others = restored.evaluate((dataset.images[:40] // 2, dataset.labels[:40]))["external"]
    assert others["prediction_sets"]["n"] == 40
    assert "promises 60 % only" in (crossval.directory / "report.html").read_text()


def test_predict_adds_a_column(run, tmp_path, capsys):
    for index, image in enumerate(make_dataset(8).images):
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"{index}.png")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run.directory), str(tmp_path), "--coverage", "0.9"])
    assert ended.value.code == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 8
    assert {row["set"] for row in rows} <= {"", "a", "b", "a|b"}


def test_what_is_kept_is_read_again(tmp_path):
    conformals = {0: fit_sets("class", make_predictions(n=50))}
    config = plain(coverage=0.8, sets="class")
    write_sets(tmp_path, conformals)
    again = read_sets(tmp_path, config, 3)
    fresh = make_predictions(seed=1).probabilities
    assert np.array_equal(make_sets(again, {0: fresh}, 0.7), conformals[0].sets(fresh, 0.7))
    assert read_sets(tmp_path, plain(), 3) == {}
    with pytest.raises(RefusedError, match="do not fit its labels"):
        read_sets(tmp_path, config, 2)
    with pytest.raises(RefusedError, match="lacks fold 1"):
        make_sets(again, {1: fresh}, 0.7)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": [0.5]}, "do not fit its labels"),
        ({"scores": [float("nan")]}, "is nan"),
        ({"labels": [-1, 0]}, "not 0 to"),
        ({"groups": "0"}, "no list"),
        ({"fold": 1}, "folds of another run"),
    ],
)
def test_what_a_stranger_wrote_is_refused(change, reason, tmp_path):
    block = {"fold": 0, "scores": [0.5, 0.25], "labels": [0, 1], "groups": [0, 1], **change}
    (tmp_path / FILE).write_text(json.dumps({"folds": [block]}))
    with pytest.raises(RefusedError, match=reason):
        read_sets(tmp_path, plain(coverage=0.8), 2)


def test_too_few_images_are_refused_before_training():
    dataset = make_dataset(40)
    splits = make_splits(CONFIG, dataset)
    require_sets(CONFIG, dataset, splits)
    config = dataclasses.replace(CONFIG, coverage=0.95)
    with pytest.raises(
        RefusedError, match=r"--coverage: 0.95 takes 19 images to set thresholds by, and there are"
    ):
        require_sets(config, dataset, splits)
    of_class = dataclasses.replace(CONFIG, sets="class")
    with pytest.raises(RefusedError, match="4 images of a to set thresholds by"):
        require_sets(of_class, dataset, make_splits(of_class, dataset))
    grouped = make_dataset(40, group_size=4)
    with pytest.raises(RefusedError, match="4 groups to set"):
        require_sets(CONFIG, grouped, make_splits(CONFIG, grouped))
    several = dataset._replace(labels=np.zeros((40, 2), np.int32))
    with pytest.raises(RefusedError, match="several labels an image"):
        require_sets(CONFIG, several, splits)


def test_without_a_part_of_its_own_the_val_part_is_taken():
    dataset = make_dataset()
    config = dataclasses.replace(CROSSVAL, training=dataclasses.replace(CONFIG, conformal_share=0.0))
    splits = make_splits(config, dataset)
    assert [part.tolist() for part in set_parts(config, dataset, splits).values()] == [
        split.val.tolist() for split in splits
    ]
    assert len(splits[0].val) > 0
    assert set_parts(plain(), dataset, splits) == {}


def test_python_warns_of_a_void_guarantee(tmp_path):
    config = dataclasses.replace(CONFIG, conformal_share=0.0, keep="best")
    run = train(make_dataset(), config, run_dir=tmp_path / "run")
    assert run.metrics["prediction_sets"]["part"] == "val"
    _, each = run.predict_folds(make_dataset())
    with pytest.warns(UserWarning, match="the guarantee of these sets is void"):
        run.prediction_sets(each, 0.8)
    assert "The guarantee of these sets is void" in (run.directory / "report.html").read_text()


def test_no_law_says_where_the_coverage_lies_if_images_share_the_threshold():
    dataset, conformal = make_dataset(40), fit_sets("lac", make_predictions(n=50))
    assert expected_range(CONFIG, dataset, {0: conformal}, 100) == [*coverage_range(50, 100, 0.8)]
    rounded = conformal._replace(scores=conformal.scores.round(1))
    assert expected_range(CONFIG, dataset, {0: rounded}, 100) is None


def test_a_coverage_that_the_images_do_not_allow_is_refused():
    conformals = {0: fit_sets("lac", make_predictions(n=30))}
    require_coverage(conformals, 0.9, 3)
    for coverage, reason in ((0.98, "at most 0.967"), (1.5, "out of range")):
        with pytest.raises(RefusedError, match=reason):
            require_coverage(conformals, coverage, 3)
    with pytest.raises(RefusedError, match="train with --coverage"):
        require_coverage({}, 0.9, 3)
