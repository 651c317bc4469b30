"""Runs compared by what they left: matched by id, refused where that has no meaning."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from medjax.config import DataConfig
from medjax.csv_text import write_csv
from medjax.errors import RefusedError
from medjax.jobs.compare import compare_runs
from tests.configs import plain
from tests.finished_runs import read_predictions

HEADER = ["id", "split", "fold", "repeat", "label", "predicted", "p_a", "p_b"]


def write_run(directory, rows, *, class_names=("a", "b"), fingerprint="f", groups=None, config=None):
    """A run that only says of each image (id, split, repeat, label, predicted)."""
    directory.mkdir()
    data = {"name": "set", "path": "set", "n": len(rows), "image_shape": [28, 28, 1], "is_synthetic": False}
    record = {
        **{
            "job": "train",
            "command": "medjax train set",
            "status": "done",
            "started": "now",
            "strategy": "loop",
        },
        **{"versions": {}, "machine": {}, "resumptions": []},
        "model": {"name": "cnn", "source": "medjax", "settings": {}, "parameters": 3},
        "class_names": class_names,
        "data": {**data, "fingerprint": fingerprint, "groups": groups, "window": None, "source_sizes": None},
        "config": config or {},
    }
    (directory / "run.json").write_text(json.dumps(record))
    lines = [
        [id, split, 0, repeat, label, predicted, int(predicted == "a"), int(predicted != "a")]
        for id, split, repeat, label, predicted in rows
    ]
    (directory / "predictions.csv").write_bytes(write_csv([HEADER, *lines]).encode())
    return directory


def rows_of(predicted, start=0, split="test", repeat=0):
    return [(f"{i}.png", split, repeat, "a", called) for i, called in enumerate(predicted, start)]


def test_images_are_matched_by_id_and_changes_counted(tmp_path):
    first = write_run(tmp_path / "first", rows_of("aaaaabbb") + rows_of("bbbb", 100, split="val"))
    second = write_run(tmp_path / "second", rows_of("abbaaabaa", 1)[::-1])
    compared = compare_runs(first, second)
    # Images 1 to 7: aaaabbb and then abbaaab.
    assert compared["n"] == 7
    assert (compared["only_first"], compared["only_second"]) == (1, 2)
    assert compared["right_to_wrong"] == {"n": 2, "ids": ["2.png", "3.png"]}
    assert compared["wrong_to_right"] == {"n": 2, "ids": ["5.png", "6.png"]}
    assert compared["accuracy"] == [4 / 7, 4 / 7]
    assert (compared["difference"], compared["mcnemar_p"]) == (0.0, 1.0)
    assert (compared["same_data"], compared["warnings"]) == (True, [])
    assert compared["scores"]["accuracy"] == {
        **{"first": 4 / 7, "second": 4 / 7, "difference": 0.0, "p": 1.0},
        "ci95": compared["ci95"],
    }
    assert compared["scores"]["auc"] is None  # all images are of one class
    json.dumps(compared, allow_nan=False)


def test_ids_with_line_ends_and_formulas_are_one_image_each(tmp_path):
    ids = ["a\rb", "a\r\nb", "=1+1", "'=1+1", "x"]
    rows = [(id, "test", 0, "a", "b") for id in ids]
    compared = compare_runs(write_run(tmp_path / "first", rows), write_run(tmp_path / "second", rows))
    assert compared["n"] == len(ids)
    assert compared["wrong_to_wrong"]["n"] == 0
    assert (compared["only_first"], compared["only_second"]) == (0, 0)


def test_the_difference_is_second_less_first(tmp_path):
    first = write_run(tmp_path / "first", rows_of("a" * 50 + "b" * 50))
    second = write_run(tmp_path / "second", rows_of("a" * 80 + "b" * 20), fingerprint="e")
    compared = compare_runs(first, second)
    assert compared["difference"] == pytest.approx(0.3)
    assert 0 < compared["ci95"][0] < 0.3 < compared["ci95"][1]
    assert compared["mcnemar_p"] == pytest.approx(binomtest(0, 30).pvalue)
    assert compared["wrong_to_right"]["n"] == 30
    assert len(compared["wrong_to_right"]["ids"]) == 20
    assert not compared["same_data"]
    assert "different data" in compared["warnings"][0]


def test_of_repeats_the_first_counts(tmp_path):
    rows = rows_of("ab", repeat=2) + rows_of("bb", repeat=1)
    run = write_run(tmp_path / "run", rows)
    assert compare_runs(run, run)["accuracy"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"class_names": ("a", "c")}, "other classes than .*: b, c"),
        ({"rows": rows_of("aaa", 50)}, "of its 3 test images none was a test image"),
        ({"rows": [("0.png", "test", 0, "b", "b")]}, r"0\.png: is a in"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path, change, reason):
    first = write_run(tmp_path / "first", rows_of("ab"))
    options = {"rows": rows_of("ab"), **change}
    second = write_run(tmp_path / "second", options.pop("rows"), **options)
    with pytest.raises(RefusedError, match=reason):
        compare_runs(first, second)


def test_a_run_without_predictions_or_with_damaged_ones_is_refused_by_name(tmp_path):
    run = write_run(tmp_path / "run", rows_of("ab"))
    (tmp_path / "run" / "predictions.csv").write_text("id,split\n1,test\n")
    with pytest.raises(RefusedError, match=r"predictions\.csv: cannot be read"):
        compare_runs(run, run)
    (tmp_path / "run" / "predictions.csv").unlink()
    with pytest.raises(RefusedError, match=r"predictions\.csv: not found"):
        compare_runs(run, run)
    with pytest.raises(RefusedError, match=r"run\.json: not found"):
        compare_runs(tmp_path / "none", run)


@pytest.mark.parametrize("is_there", [True, False])
def test_groups_are_the_units_where_they_are_at_hand(tmp_path, is_there):
    path = tmp_path / "groups.csv"
    if is_there:
        path.write_text("id,group\n" + "".join(f"{i}.png,{i // 2}\n" for i in range(60)))
    config = dataclasses.asdict(plain(data=DataConfig(groups=str(path))))
    options = {"groups": {"sources": ["user"], "n": 30, "fingerprint": "0a"}, "config": config}
    first = write_run(tmp_path / "first", rows_of("ab" * 20), **options)
    second = write_run(tmp_path / "second", rows_of("aabb" * 10), **options)
    compared = compare_runs(first, second)
    assert compared["unit"] == ("group" if is_there else "image")
    assert bool(compared["warnings"]) != is_there
    assert (compared["mcnemar_p"] is None) == is_there


def test_a_holdout_and_a_cross_validation_of_the_same_data(trained_run, crossval_run):
    compared = compare_runs(trained_run.directory, crossval_run.directory)
    rows = [row for row in read_predictions(trained_run) if row["split"] == "test"]
    assert (compared["n"], compared["only_first"], compared["only_second"]) == (18, 0, 102)
    assert compared["accuracy"][0] == np.mean([row["label"] == row["predicted"] for row in rows])
    assert compared["same_data"]
    auc = trained_run.metrics["test"]["auc"]
    assert compared["scores"]["auc"]["first"] == pytest.approx(auc)
    name = trained_run.record["class_names"][1]
    of_class = compare_runs(trained_run.directory, crossval_run.directory, positive=name)["scores"]["auc"]
    assert of_class["first"] == pytest.approx(trained_run.metrics["test"]["per_class"][name]["auc"])


def test_runs_that_know_other_labels_are_refused(tmp_path):
    for name, unknown in (("first", ""), ("second", "b")):
        run = write_run(tmp_path / name, [])
        record = json.loads((run / "run.json").read_text())
        record["data"]["n"] = 1
        (run / "run.json").write_text(json.dumps({**record, "several_labels": True}))
        row = ["0.png", "test", 0, 0, "a", "a", 0.9, 0.2, unknown]
        (run / "predictions.csv").write_bytes(write_csv([[*HEADER, "unknown"], row]).encode())
    with pytest.raises(RefusedError, match=r"0\.png: is a in .*first and a \(not known: b\) in .*second"):
        compare_runs(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"positive": "c"}, "--positive: c is no class"), ({"specificity": 1.0}, "--specificity: 1.0 is out")],
)
def test_what_cannot_be_compared_by_is_refused(tmp_path, options, reason):
    run = write_run(tmp_path / "run", rows_of("ab"))
    with pytest.raises(RefusedError, match=reason):
        compare_runs(run, run, **options)


@pytest.mark.parametrize(
    ("sources", "warning"),
    [
        (["user", "exact"], "the groups of the images are not at hand; the interval takes every image"),
        (["frames"], "no patient groups were given; frames of a file were grouped; the interval takes"),
        (["exact"], "no patient groups were given; identical images were grouped; the interval takes"),
        (["near"], "no patient groups were given; nearly identical images were grouped; the interval"),
    ],
)
def test_grouped_duplicates_are_not_taken_for_patients(tmp_path, sources, warning):
    config = dataclasses.asdict(plain())
    options = {"groups": {"n": 2, "fingerprint": "0a", "sources": sources}, "config": config}
    for name in ("first", "second"):
        write_run(tmp_path / name, rows_of("ab"), **options)
    compared = compare_runs(tmp_path / "first", tmp_path / "second")
    assert [line.startswith(warning) for line in compared["warnings"]] == [True]
