"""The score of a run under both ways of grouping duplicates."""

import dataclasses
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

import medjax
from medjax import cli
from medjax.config import PRESETS, CrossvalConfig
from medjax.config_checks import from_dict
from medjax.errors import RefusedError
from medjax.jobs.compare_grouping import _command, compare_grouping
from medjax.jobs.resume import continuation
from tests.pages import Page

CONFIG = dataclasses.replace(PRESETS["report"], epochs=1, baselines=False)


@pytest.fixture
def copies(phantom_folder, tmp_path):
    """The phantom with every image there twice."""
    folder = tmp_path / "copies"
    shutil.copytree(phantom_folder, folder)
    for path in list(folder.rglob("*.png")):
        Image.open(path).save(path.with_name(f"copy-{path.name}"))
    return folder


def test_both_scores_stand_in_the_metrics_and_on_the_page(copies, tmp_path):
    trained = medjax.train(copies, CONFIG, run_dir=tmp_path / "run")
    alone = trained.metrics
    compare_grouping(trained, copies)
    ungrouped, grouped = trained.metrics["grouping"]
    assert (ungrouped["group_duplicates"], grouped["group_duplicates"]) == ("none", "exact")
    assert ungrouped["identical"] > 0
    assert grouped["identical"] == 0
    assert ungrouped["errors"] == alone["test"]["errors"]
    assert {name: trained.metrics[name] for name in alone} == alone  # the run's own are left as they were
    text = Page((trained.directory / "report.html").read_text()).text
    assert "identical images kept together" in text


def test_the_command_that_goes_on_is_made_of_the_settings(trained_run):
    stranger = dataclasses.replace(trained_run, record={**trained_run.record, "command": 'medjax "; reboot'})
    line = continuation(_command(stranger, "my data"), stranger.directory / "other_grouping")
    assert "reboot" not in line
    words = shlex.split(line)
    command = cli._parse(words[1:])
    assert (words[0], command.data, command.run) == ("medjax", "my data", trained_run.directory)
    assert command.resume
    assert command.compare_grouping
    assert command.config == from_dict(trained_run.record["config"])


@pytest.mark.slow
def test_of_a_cross_validation_too_and_a_second_call_repeats_nothing(copies, tmp_path):
    training = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, group_duplicates="exact"))
    trained = medjax.cross_validate(
        copies, CrossvalConfig(folds=2, training=training), run_dir=tmp_path / "run"
    )
    compare_grouping(trained, copies)
    first = trained.metrics["grouping"]
    assert [each["group_duplicates"] for each in first] == ["exact", "none"]
    assert [each["identical"] > 0 for each in first] == [False, True]
    predictions = trained.directory / "other_grouping" / "predictions.csv"
    before = predictions.stat().st_mtime_ns
    compare_grouping(trained, copies)
    assert predictions.stat().st_mtime_ns == before
    assert trained.metrics["grouping"] == first


def test_a_network_is_never_imported_because_the_record_names_it(copies, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('imported').touch()\n")
    monkeypatch.chdir(tmp_path)
    run = medjax.train(copies, CONFIG, run_dir=tmp_path / "run")
    record = {**run.record, "config": {**run.record["config"], "model": "evil.py:make"}}
    with pytest.raises(RefusedError, match="its network is none of medjax's"):
        compare_grouping(dataclasses.replace(run, record=record, model=None), copies)
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
def test_a_users_network_named_by_a_file_is_kept_with_the_run(copies, tmp_path):
    config = dataclasses.replace(
        CONFIG, model=f"{Path(__file__).parents[1] / 'user_networks.py'}:Deterministic"
    )
    run = medjax.train(copies, config, run_dir=tmp_path / "run")
    assert run.evaluate()["test"] == run.metrics["test"]
    assert len(compare_grouping(run, copies).metrics["grouping"]) == 2


def test_a_run_with_a_link_is_refused_before_it_is_repeated(trained_run, phantom_folder, tmp_path):
    shutil.copytree(trained_run.directory, tmp_path / "run")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run" / "other_grouping").symlink_to(tmp_path / "theirs")
    with pytest.raises(RefusedError, match="other_grouping: is a link"):
        compare_grouping(type(trained_run)(tmp_path / "run", trained_run.record), phantom_folder)
    assert list((tmp_path / "theirs").iterdir()) == []
