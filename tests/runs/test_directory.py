import copy
import csv

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
    read_json,
    read_record,
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


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udc80"])
def test_json_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RefusedError, match=r"run\.json"):
        read_json(path)
    with pytest.raises(RefusedError, match="not found"):
        read_json(tmp_path / "metrics.json")


RECORD = {
    **dict.fromkeys(("job", "command", "status", "started", "strategy"), "text"),
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
        ("class_names", [1, 2], "class_names are no names"),
        ("class_names", [], "class_names are no names"),
        ("data.image_shape", [28, 28], r"image_shape is \[28, 28\]"),
        ("data.image_shape", [10**9, 28, 1], "three numbers from 1 to 4096"),
        ("data.image_shape", [28.0, 28, 1], "three numbers"),
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
    assert read_json(tmp_path / "run.json") == {"path": "data\udcff"}


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
