"""Calibration of a run: fitted on validation images alone, kept with the run, and applied again."""

import dataclasses
import json

import numpy as np
import pytest

from medjax.config import CrossvalConfig
from medjax.errors import RefusedError
from medjax.evaluation.calibrators import Isotonic, Temperature, fit_calibrator
from medjax.jobs import restored_run
from medjax.jobs.calibration import (
    calibrate,
    describe_before,
    describe_calibrators,
    fit_calibrators,
    recorded_calibrators,
    require_calibration,
)
from medjax.jobs.restored_run import load_run
from medjax.jobs.train import cross_validate, train
from medjax.records import Dataset, Split
from medjax.runs.formats import METRICS
from tests.configs import plain
from tests.finished_runs import read_predictions
from tests.predicted import make_label_predictions, make_predictions
from tests.tiny import make_images

CONFIG = plain(calibrate="temperature", epochs=2, baselines=False, augment=False, block_features=(4,))


def make_dataset(n=210):
    """Images a tenth of whose labels are wrong, so that every part has errors."""
    images, labels = make_images(n)
    labels[::10] = 1 - labels[::10]
    ids, digests = np.array([f"{i}.png" for i in range(n)]), np.zeros((n, 32), np.uint8)
    digests[:, :2] = np.arange(n).astype(np.uint16).view(np.uint8).reshape(-1, 2)
    return Dataset(images, labels, ("a", "b"), ids, digests, "stripes")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(make_dataset(), CONFIG, run_dir=tmp_path_factory.mktemp("calibrated") / "run")


@pytest.fixture(scope="module")
def crossval(tmp_path_factory):
    config = CrossvalConfig(folds=2, training=dataclasses.replace(CONFIG, fractions=(0.5, 0.3, 0.2)))
    return cross_validate(make_dataset(), config, run_dir=tmp_path_factory.mktemp("calibrated") / "folds")


def test_it_is_fitted_on_the_validation_part_alone(run, tmp_path):
    """Other labels of the test part change nothing but the scores."""
    (block,) = run.metrics["calibrators"]
    assert (block["fold"], block["n"], block["method"]) == (0, run.metrics["val"]["n"], "temperature")
    assert block["temperature"] != 1
    without = train(make_dataset(), dataclasses.replace(CONFIG, calibrate=None), run_dir=tmp_path / "run")
    mapping = Temperature(block["temperature"])
    for before, after in zip(read_predictions(without), read_predictions(run), strict=True):
        expected = mapping.apply(np.array([[before["p_a"], before["p_b"]]], np.float32))[0]
        assert [after["p_a"], after["p_b"]] == expected.astype(str).tolist()
        assert after["predicted"] == before["predicted"]
    of_validation = [row for row in read_predictions(without) if row["split"] == "val"]
    probabilities = np.array([[row["p_a"], row["p_b"]] for row in of_validation], np.float32)
    labels = np.array([row["label"] == "b" for row in of_validation], np.int32)
    predictions = make_predictions(n=len(labels))._replace(labels=labels, probabilities=probabilities)
    assert fit_calibrator("temperature", predictions).value == pytest.approx(mapping.value, rel=1e-6)
    before, scores = run.metrics["test"]["before_calibration"], without.metrics["test"]
    for name in ("n", "errors", "loss", "brier", "ece"):
        assert before[name] == pytest.approx(scores[name]), name
    for name in ("slope", "intercept"):
        assert before[name]["value"] == scores["calibration"][name]["value"]
    assert "calibrators" not in without.metrics
    assert "before_calibration" not in without.metrics["test"]


def test_a_run_applies_it_again(run):
    restored = load_run(run.directory)
    kept = {name: value for name, value in run.metrics["test"].items() if name != "before_calibration"}
    assert restored.evaluate(make_dataset())["test"] == kept
    ids, probabilities = restored.predict(make_dataset())
    rows = {row["id"]: row for row in read_predictions(run)}
    for id, row in zip(ids, probabilities, strict=True):
        if id in rows:
            np.testing.assert_allclose(row, [float(rows[id]["p_a"]), float(rows[id]["p_b"])], rtol=1e-4)
    page = (run.directory / "report.html").read_text()
    assert "Probabilities are calibrated by one temperature" in page
    assert "before calibration" in page


def test_other_data_are_scored_by_calibrated_probabilities(run, monkeypatch):
    monkeypatch.setattr(restored_run, "warn_of_outside", lambda outside: None)
    restored, dataset = load_run(run.directory), make_dataset(60)
    images = dataset.images // 2
    _, probabilities = restored.predict(images)
    of_truth = probabilities[np.arange(60), dataset.labels]
    scores = restored.evaluate((images, dataset.labels))["external"]
    assert scores["loss"] == pytest.approx(-np.log(of_truth.astype(np.float64)).mean(), rel=1e-5)


def test_each_fold_has_a_map_of_its_own(crossval):
    blocks = crossval.metrics["calibrators"]
    assert [block["fold"] for block in blocks] == [0, 1]
    assert blocks[0]["temperature"] != blocks[1]["temperature"]
    restored = load_run(crossval.directory)
    pooled = dict(crossval.metrics["pooled"])
    assert pooled.pop("before_calibration")["n"] == 210
    assert restored.evaluate(make_dataset())["test"]["loss"] == pooled["loss"]
    assert "New images get the mean" in (crossval.directory / "report.html").read_text()


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_what_is_kept_is_what_was_fitted(method):
    config, predictions = plain(calibrate=method), make_predictions(sharpness=2)
    fitted = fit_calibrators(config, {0: predictions})
    metrics = json.loads(json.dumps({"calibrators": describe_calibrators(fitted, {0: predictions})}))
    assert METRICS(metrics) is None
    again = recorded_calibrators(metrics, config, 3, several_labels=False)
    mapped = calibrate(again, 0, predictions)
    assert np.array_equal(mapped.probabilities, fitted[0].apply(predictions.probabilities))
    of_truth = mapped.probabilities[np.arange(200), predictions.labels]
    np.testing.assert_allclose(mapped.losses, -np.log(of_truth), rtol=1e-6)
    for num_classes, other in (
        (2, config),
        (3, plain(calibrate="vector" if method != "vector" else "isotonic")),
    ):
        if method == "temperature" and num_classes == 2:
            continue
        with pytest.raises(RefusedError, match="does not hold the calibration of this run"):
            recorded_calibrators(metrics, other, num_classes, several_labels=False)


def test_of_several_labels_each_temperature_is_kept():
    config, predictions = plain(calibrate="temperature"), make_label_predictions()
    fitted = fit_calibrators(config, {0: predictions})
    metrics = json.loads(json.dumps({"calibrators": describe_calibrators(fitted, {0: predictions})}))
    assert METRICS(metrics) is None
    again = recorded_calibrators(metrics, config, 3, several_labels=True)
    mapped = calibrate(again, 0, predictions)
    assert np.array_equal(mapped.probabilities, fitted[0].apply(predictions.probabilities))
    assert mapped.losses.mean() <= predictions.losses.mean()
    with pytest.raises(RefusedError, match="does not hold the calibration"):
        recorded_calibrators(metrics, config, 4, several_labels=True)


def test_what_a_stranger_wrote_is_refused():
    predictions = make_predictions()
    fitted = {0: fit_calibrator("isotonic", predictions)}
    assert isinstance(fitted[0], Isotonic)
    (block,) = describe_calibrators(fitted, {0: predictions})
    for name, value in (("shares", [[0.0], [0.1], [0.1]]), ("temperature", 0), ("scales", [float("nan")])):
        fault = METRICS({"calibrators": [{**block, name: value}]})
        assert name in fault.where
    for wrong in ({"probabilities": block["probabilities"][:2]}, {"shares": [[0.5]] * 3}):
        with pytest.raises(RefusedError, match="does not hold the calibration"):
            recorded_calibrators(
                {"calibrators": [{**block, **wrong}]}, plain(calibrate="isotonic"), 3, several_labels=False
            )
    with pytest.raises(RefusedError, match="does not hold the calibration"):
        recorded_calibrators({}, plain(calibrate="isotonic"), 3, several_labels=False)


def test_a_fold_that_diverged_has_none():
    metrics = {"calibrators": [], "folds": [{"fold": 0, "diverged": True}]}
    assert recorded_calibrators(metrics, plain(calibrate="vector"), 3, several_labels=False) == {}


@pytest.mark.parametrize(("method", "wanted"), [("temperature", 30), ("vector", 100), ("isotonic", 1000)])
def test_too_few_validation_images_are_refused_before_training(method, wanted):
    dataset = make_dataset(8)
    too_few = [Split(np.arange(4), np.arange(wanted - 1), np.arange(4))]
    reason = rf"--calibrate: {method} wants {wanted:,} validation images, and there are {wanted - 1:,}"
    with pytest.raises(RefusedError, match=reason):
        require_calibration(plain(calibrate=method), dataset, too_few)
    require_calibration(
        plain(calibrate=method), dataset, [Split(np.arange(4), np.arange(wanted), np.arange(4))]
    )
    require_calibration(plain(), dataset, too_few)


def test_of_several_labels_only_temperature_is_taken():
    dataset = make_dataset(8)._replace(labels=np.zeros((8, 2), np.int32))
    with pytest.raises(RefusedError, match="vector is of one class an image"):
        require_calibration(plain(calibrate="vector"), dataset, [])


def test_before_calibration_takes_groups_as_independent():
    predictions = make_predictions(n=400, shares=(0.5, 0.5), group_size=4)
    dataset = make_dataset(400)
    apart = describe_before(predictions, dataset)
    together = describe_before(predictions, dataset._replace(groups=(np.arange(400) // 4).astype(str)))
    widths = [np.diff(each["slope"]["ci95"])[0] for each in (apart, together)]
    assert widths[1] > widths[0]
