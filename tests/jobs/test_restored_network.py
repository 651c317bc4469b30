"""The network of a run, from checkpoints that may be a stranger's."""

import json
import shutil

import pytest

import medjax
from medjax.errors import RefusedError
from medjax.runs import checkpoint


def changed(run, directory, change):
    """A copy of a run whose run.json says something else."""
    shutil.copytree(run.directory, directory)
    record = json.loads((directory / "run.json").read_text())
    change(record)
    (directory / "run.json").write_text(json.dumps(record))
    return medjax.load_run(directory)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda record: record["class_names"].reverse(), "class_names"),
        (lambda record: record["config"]["augmentation"].update(zoom=0.2), r"config\.augmentation\.zoom"),
        (lambda record: record["data"].update(fingerprint="0a"), r"data\.fingerprint"),
        (lambda record: record["config"].update(test_time_augmentation=3), r"config\.test_time_augmentation"),
    ],
)
def test_what_never_changes_in_run_json_is_what_the_checkpoints_were_saved_with(
    trained_run, phantom_folder, tmp_path, change, name
):
    with pytest.raises(RefusedError, match=rf"run\.json: {name} is not what .*epoch_0002 was saved with"):
        changed(trained_run, tmp_path / "run", change).predict([phantom_folder / "Hand"])


def test_more_epochs_asked_for_and_data_that_moved_leave_a_checkpoint_what_it_is(
    trained_run, phantom_folder, tmp_path
):
    def change(record):
        record["config"]["epochs"] = 9
        record["config"]["data"]["cache"] = False
        record["data"] |= {"path": "/moved", "name": "moved"}
        record["status"] = "interrupted"

    ids, _ = changed(trained_run, tmp_path / "run", change).predict([phantom_folder / "Hand"])
    assert len(ids) == 20


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_parameters_that_are_not_finite_are_refused_on_load(trained_run, phantom_folder, tmp_path, number):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    newest = checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints" / "fold_00")[-1]
    variables = checkpoint.load_checkpoint(newest, "variables")
    state = checkpoint.load_checkpoint(newest, "state")
    facts = json.loads((newest / "facts.json").read_text())
    variables["parameters"]["features"]["block_0"]["bias"][3] = number
    checkpoint.delete_checkpoint(newest)
    checkpoint.save_checkpoint(newest, {"variables": variables, "state": state}, facts)
    run = medjax.load_run(tmp_path / "run")
    for ask in (run.evaluate, lambda: run.predict([phantom_folder / "Hand"])):
        with pytest.raises(RefusedError, match=r"epoch_0002: parameters/features/block_0/bias holds numbers"):
            ask()


def test_a_network_that_no_memory_holds_is_refused(trained_run, phantom_folder, monkeypatch):
    monkeypatch.setattr("medjax.jobs.restored_network.available_memory", lambda: 40_960)
    with pytest.raises(RefusedError, match=r"its network takes .* more than half of the 40\.0 KiB"):
        trained_run.predict([phantom_folder / "Hand"])
