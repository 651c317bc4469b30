"""What every run writes is what the formats allow."""

import json

import pytest

from medjax.runs.formats import MAX_METRICS_BYTES, MAX_RECORD_BYTES, METRICS, RECORD


@pytest.mark.parametrize("fixture", ["trained_run", "crossval_run"])
def test_a_run_writes_what_may_be_read(request, fixture):
    directory = request.getfixturevalue(fixture).directory
    for name, check, limit in (("run", RECORD, MAX_RECORD_BYTES), ("metrics", METRICS, MAX_METRICS_BYTES)):
        path = directory / f"{name}.json"
        assert check(json.loads(path.read_text())) is None
        assert path.stat().st_size < limit / 100


def test_the_field_that_is_wrong_is_named(trained_run):
    record = json.loads((trained_run.directory / "run.json").read_text())
    record["data"]["counts"]["train"]["Hand"] = -1
    fault = RECORD(record)
    assert (fault.where, fault.reason) == (".data.counts.train.Hand", "is -1, not 0 to 100000000")


@pytest.mark.parametrize(
    "window", [[0, 4095], {}, {"low": "0", "high": 9, "levels": 9}, {"low": 0, "high": 65536, "levels": 9}]
)
def test_a_window_that_is_none_is_found(trained_run, window):
    record = json.loads((trained_run.directory / "run.json").read_text())
    assert RECORD({**record, "data": {**record["data"], "window": window}}).where.startswith(".data.window")


def test_a_finding_without_its_remedy_is_found(trained_run):
    metrics = json.loads((trained_run.directory / "metrics.json").read_text())
    del metrics["diagnosis"][0]["remedy"]
    assert METRICS(metrics).where == ".diagnosis[0].remedy"


@pytest.mark.parametrize(
    ("block", "name", "value"),
    [
        ("prediction_sets", "mean_size", None),
        ("prediction_sets", "per_class", {"a": 1}),
        ("prediction_sets", "coverage", "0.9"),
        ("before_calibration", "loss", -1),
        ("before_calibration", "slope", 1.0),
    ],
)
def test_what_sets_and_calibration_scored_is_checked(trained_run, block, name, value):
    metrics = json.loads((trained_run.directory / "metrics.json").read_text())
    covered = {"n": 8, "coverage": 0.9, "coverage_ci95": None, "mean_size": 1.5}
    sets = {"wanted": 0.9, "empty": 0.0, "single": 0.5, "sizes": [0, 4, 4], "per_class": {"a": covered}}
    before = {"n": 8, "errors": 0, "loss": 0.5, "brier": 0.25, "ece": 0.0, "slope": {"value": None}}
    blocks = {"prediction_sets": {**covered, **sets}, "before_calibration": before}
    metrics["test"] |= blocks
    assert METRICS(metrics) is None
    metrics["test"][block][name] = value
    assert METRICS(metrics).where.startswith(f".test.{block}.{name}")
