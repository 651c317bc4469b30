"""A fit is finished when its directory verifies; each fault of it is found."""

import dataclasses
import json
import shutil

import pytest

from medjax.config_checks import from_dict
from medjax.errors import RefusedError
from medjax.runs.directory import write_record
from medjax.scale.finished import is_finished, require_finished
from tests.scale.test_description import describe


@pytest.fixture
def answered(trained_run, tmp_path):
    """A copy of a finished run, and the description that it answers."""
    (tmp_path / "fits").mkdir()
    shutil.copytree(trained_run.directory, tmp_path / "fits" / "fold_01")
    record = trained_run.record
    return describe(
        tmp_path / "fits",
        config=from_dict(record["config"]),
        fingerprint=record["data"]["fingerprint"],
        threads=record["machine"]["threads"],
        versions=record["versions"],
        scoring="all",
    )


def change_record(description, change):
    path = description.directory / "run.json"
    record = json.loads(path.read_text())
    change(record)
    write_record(description.directory, record)


def test_the_run_that_was_asked_for_is(answered):
    require_finished(answered)
    assert is_finished(answered)
    # One that was scored after all is also one whose val part is scored, but not one that is none of it.
    assert is_finished(dataclasses.replace(answered, scoring="val"))
    assert not is_finished(dataclasses.replace(answered, run="nothing"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: record.update(status="running"), "its status is running"),
        (lambda record: record.update(status="trained"), "its status is trained"),
        (lambda record: record["config"].update(epochs=3), "is of other settings or data"),
        (lambda record: record["data"].update(fingerprint="0" * 64), "is of other settings or data"),
        (lambda record: record["machine"].update(threads=77), "was computed with 77 threads"),
        (lambda record: record["machine"].pop("threads"), "was computed with None threads"),
        (lambda record: record["versions"].update(jax="0.1"), r"was computed with jax 0\.1, not "),
        (lambda record: record["class_names"].reverse(), "class_names is not what"),
    ],
)
def test_another_run_is_not(answered, change, reason):
    change_record(answered, change)
    with pytest.raises(RefusedError, match=reason):
        require_finished(answered)
    assert not is_finished(answered)


def test_a_damaged_one_is_not(answered):
    [largest] = sorted(
        answered.directory.glob("checkpoints/fold_00/epoch_0002/variables/**/c/**/0"),
        key=lambda path: path.stat().st_size,
    )[-1:]
    content = bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)
    with pytest.raises(RefusedError, match="is damaged"):
        require_finished(answered)


@pytest.mark.parametrize("name", ["predictions.csv", "metrics.json", "checkpoints"])
def test_a_part_of_one_is_not(answered, name):
    path = answered.directory / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not is_finished(answered)


def test_one_with_a_link_is_not(answered):
    (answered.directory / "figures" / "more.png").symlink_to("/etc/hostname")
    assert not is_finished(answered)
