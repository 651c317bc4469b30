import copy
import csv
import json
import os

import numpy as np
import pytest

from medjax.csv_text import read_csv
from medjax.errors import RefusedError
from medjax.files import open_folder
from medjax.records import Dataset, Predictions
from medjax.runs.directory import (
    HISTORY_FIELDS,
    PredictedPart,
    create_run_dir,
    make_numbered,
    mark_interrupted,
    read_digests,
    read_history,
    read_json,
    read_metrics,
    read_record,
    write_digests,
    write_history,
    write_json,
    write_predictions,
    write_record,
)


def test_runs_never_overwrite_one_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(create_run_dir(None, "data-report")) for _ in range(3)] == [
        "runs/data-report-000",
        "runs/data-report-001",
        "runs/data-report-002",
    ]


def test_a_requested_directory_may_be_new_or_empty(tmp_path):
    assert create_run_dir(tmp_path / "a" / "b", "x").is_dir()
    assert create_run_dir(tmp_path / "a" / "b", "x").is_dir()


def test_a_requested_directory_that_holds_something_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="is not empty"):
        create_run_dir(tmp_path, "x")
    with pytest.raises(RefusedError, match="cannot be made a run directory"):
        create_run_dir(tmp_path / "file", "x")


def test_json_is_written_whole_and_without_nan(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"name": "Größe"})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"name": float("nan")})
    assert read_json(path) == {"name": "Größe"}
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", "\udc80", "[" * 100_000, '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}'),
        '{"a": 99999999999999999999}',
        f'{{"a": {"9" * 5000}}}',
        '{"a":' + "[" * 40 + "]" * 40 + "}",
    ],
)
def test_json_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RefusedError, match=r"run\.json"):
        read_json(path)
    with pytest.raises(RefusedError, match="not found"):
        read_json(tmp_path / "metrics.json")


RECORD = {
    **{
        "job": "train",
        "command": "medjax train pets",
        "status": "done",
        "started": "now",
        "strategy": "loop",
    },
    **{name: {} for name in ("config", "versions", "machine")},
    "resumptions": [],
    "class_names": ["cat", "dog"],
    "data": {
        "name": "pets",
        "path": None,
        "fingerprint": "0a",
        "n": 3,
        "image_shape": [28, 28, 1],
        "is_synthetic": False,
        "groups": None,
        "window": None,
        "source_sizes": None,
    },
    "model": {"name": "cnn", "source": "medjax", "settings": {}, "parameters": 7},
}


def test_the_record_of_a_run_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "run.json", RECORD)
    assert read_record(tmp_path) == RECORD


@pytest.mark.parametrize(
    ("names", "value", "message"),
    [
        *((name, None, name) for name in RECORD),
        *((f"{block}.{name}", None, name) for block in ("data", "model") for name in RECORD[block]),
        ("class_names", ["cat", 2], r"class_names\[1\] is 2, no text"),
        ("class_names", [], "class_names has 0 values"),
        ("class_names", ["cat", "cat"], "class_names has cat twice"),
        ("data.image_shape", [28, 28], r"data\.image_shape has 2 values"),
        ("data.image_shape", [10**9, 28, 1], r"data\.image_shape\[0\] is 1000000000, not 1 to 4096"),
        ("data.image_shape", [28.0, 28, 1], r"data\.image_shape\[0\] is 28\.0, no whole number"),
        ("data.n", 10**12, r"data\.n is 1000000000000, not 1 to"),
        ("data.n", True, r"data\.n is True, no whole number"),
        ("data.fingerprint", "xyz", r"data\.fingerprint is 'xyz'"),
        ("model.source", "pickle", r"model\.source is 'pickle', not medjax"),
        ("machine", [], r"machine is \[\], no object"),
    ],
)
def test_a_record_that_lacks_a_field_or_holds_another_kind_is_refused(tmp_path, names, value, message):
    record = copy.deepcopy(RECORD)
    *blocks, name = names.split(".")
    block = record[blocks[0]] if blocks else record
    if value is None:
        del block[name]
    else:
        block[name] = value
    write_json(tmp_path / "run.json", record)
    with pytest.raises(RefusedError, match=rf"run\.json: .*{message}"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "reader", [read_record, read_metrics, lambda path: read_history(path / "history.csv")]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "huge"])
def test_only_a_regular_file_of_a_bounded_size_is_opened(tmp_path, reader, kind):
    for name in ("run.json", "metrics.json", "history.csv"):
        path = tmp_path / name
        if kind == "link":
            path.symlink_to("/dev/zero")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            with path.open("wb") as file:
                file.truncate(20 * 2**30)  # of holes
    reason = {"link": "is a symbolic link", "huge": "has 21,474,836,480 bytes, more than"}
    with pytest.raises(RefusedError, match=reason.get(kind, "is not a regular file")):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"test": []}, r"test is \[\], no object"),
        ({"test": {"n": 3}}, r"test\.errors is missing"),
        ({"folds": [{"fold": 0, "diverged": "no"}]}, r"folds\[0\]\.diverged is 'no', no true or false"),
    ],
)
def test_metrics_that_no_run_has_are_refused(tmp_path, metrics, message):
    write_json(tmp_path / "metrics.json", metrics)
    with pytest.raises(RefusedError, match=rf"metrics\.json: {message}"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    "text", ["fold,epoch\n0,0\n", "x", "{header}\n1,2\n", "{header}\n0.5,0,1,1,1,1,1,1\n"]
)
def test_a_history_that_no_run_has_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_text(text.replace("{header}", ",".join(HISTORY_FIELDS)))
    with pytest.raises(RefusedError, match=r"history\.csv: "):
        read_history(tmp_path / "history.csv")


def test_digests_are_read_as_they_were_written(tmp_path):
    digests = np.arange(96, dtype=np.uint8).reshape(3, 32)
    write_digests(tmp_path / "digests.npy", digests)
    assert np.array_equal(read_digests(tmp_path / "digests.npy"), digests)
    with pytest.raises(RefusedError, match="bytes, more than the"):
        read_digests(tmp_path / "digests.npy", at_most=-30)


@pytest.mark.parametrize(
    "shape", ["(40000000000000, 32)", "(3, 33)", "(96,)", "(-1, 32)", "(3, 32, 1)", "3", "x"]
)
def test_a_digest_file_that_claims_another_shape_is_refused(tmp_path, shape):
    path = tmp_path / "digests.npy"
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + bytes(96))
    with pytest.raises(RefusedError, match=r"digests\.npy: (does not hold|cannot be read)"):
        read_digests(path)


def test_history_has_the_agreed_columns(tmp_path):
    row = dict.fromkeys(HISTORY_FIELDS, 0.5)
    write_history(tmp_path / "history.csv", [row])
    with (tmp_path / "history.csv").open(newline="") as file:
        assert next(csv.reader(file)) == [
            "fold",
            "epoch",
            "train_loss",
            "train_accuracy",
            "val_loss",
            "val_accuracy",
            "learning_rate",
            "seconds",
        ]


def test_predictions_read_back_as_the_same_floats(tmp_path):
    generator = np.random.default_rng(0)
    probabilities = np.exp(generator.normal(0, 10, (50, 2))).astype(np.float32)
    dataset = Dataset(
        images=np.zeros((50, 2, 2, 1), np.uint8),
        labels=np.zeros(50, np.int32),
        class_names=("normal", 'a "b", c'),
        ids=np.array([f"normal/{index}, odd\n.png" for index in range(50)]),
        digests=np.zeros((50, 32), np.uint8),
        name="x",
    )
    indices = generator.permutation(50)
    predictions = Predictions(indices, dataset.labels[indices], probabilities, np.zeros(50, np.float32))
    part = PredictedPart("test", predictions, np.zeros(50, int), 0)
    write_predictions(tmp_path / "predictions.csv", dataset, [part])
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "id",
        "split",
        "fold",
        "repeat",
        "label",
        "predicted",
        "p_normal",
        'p_a "b", c',
    ]
    assert [row["id"] for row in rows] == dataset.ids[indices].tolist()
    assert {(row["split"], row["fold"], row["repeat"], row["label"]) for row in rows} == {
        ("test", "0", "0", "normal")
    }
    for column, name in enumerate(dataset.class_names):
        assert np.array_equal(
            np.array([row[f"p_{name}"] for row in rows], np.float32), probabilities[:, column]
        )
    predicted = [dataset.class_names[best] for best in probabilities.argmax(1)]
    assert [row["predicted"] for row in rows] == predicted


IDS = ["a\rb", "a\nb", "=1+1", "'x", "\x1b[31m", 'a,"b"', "肺"]


def test_ids_survive_predictions_csv_whatever_they_hold(tmp_path):
    path = tmp_path / "predictions.csv"
    n = len(IDS)
    images = np.zeros((n, 2, 2, 1), np.uint8)
    labels = np.arange(n, dtype=np.int32) % 2
    dataset = Dataset(images, labels, ("a b", "c'"), np.array(IDS), np.zeros((n, 32), np.uint8), "data")
    probabilities = np.full((n, 2), 0.5, np.float32)
    predictions = Predictions(np.arange(n), labels, probabilities, np.ones(n, np.float32))
    write_predictions(path, dataset, [PredictedPart("test", predictions, np.zeros(n, int), 0)])
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(read_csv(lines))
    assert [row["id"] for row in rows] == IDS
    assert [row["label"] for row in rows] == [("a b", "c'")[label] for label in labels]


def test_a_path_that_is_no_utf8_survives_run_json(tmp_path):
    write_json(tmp_path / "run.json", {"path": "data\udcff"})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"path": "data\udcff"}


def test_numbered_directories_are_made_in_a_folder_that_is_held_open(tmp_path):
    (tmp_path / "x-001").touch()
    with open_folder(tmp_path) as folder:
        assert [make_numbered(folder, "x").name for _ in range(2)] == ["x-000", "x-002"]


@pytest.mark.parametrize(("before", "after"), [("running", "interrupted"), ("done", "done")])
def test_a_running_run_is_marked_as_interrupted_where_it_is(before, after, tmp_path, monkeypatch):
    record = {"command": 'x "status": "running",', "status": before, "data": {"status": "running", "n": 1}}
    write_record(tmp_path, record)
    size = (tmp_path / "run.json").stat().st_size
    monkeypatch.setattr("medjax.runs.directory.write_whole", None)  # which needs room for another file
    mark_interrupted(tmp_path)
    assert read_json(tmp_path / "run.json") == {**record, "status": after}
    assert (tmp_path / "run.json").stat().st_size == size
