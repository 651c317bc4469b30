"""The command on the page gives the settings of the run again, whatever they are, and none of a stranger's words."""

import dataclasses
import json
import shlex
import typing

import pytest

from medjax import cli
from medjax.config import (
    CROSSVAL_PRESETS,
    PRESETS,
    AugmentConfig,
    CrossvalConfig,
    DataConfig,
    PlateauConfig,
    StoppingConfig,
    TrainConfig,
)
from medjax.report.command import option_words, shown_command
from medjax.settings import Entry, entries, flags_for

CLASSES = {each.__name__: each for each in (TrainConfig, CrossvalConfig, DataConfig)}
NAMESPACE = {**CLASSES, **{each.__name__: each for each in (AugmentConfig, PlateauConfig, StoppingConfig)}}


def run_of(config, path="/home/someone/secret/scans", **model) -> dict:
    return {
        "command": "medjax train x; rm -rf ~",
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "data": {"path": path, "is_synthetic": False},
        "model": {"source": "medjax", **model},
    }


def parsed(command: str) -> tuple[str, object]:
    """The data and the configuration that the command line takes from a command."""
    words = shlex.split(command)
    assert words[0] == "medjax"
    made = cli._parse(words[1:])
    return made.data, made.config


def another(entry: Entry):
    """A value of a setting that differs from the one it has, as strange as its type allows."""
    options = typing.get_args(entry.kind)
    if isinstance(entry.value, bool):
        return not entry.value
    choices = [
        choice
        for kind in (entry.kind, *options)
        if typing.get_origin(kind) is typing.Literal
        for choice in typing.get_args(kind)
    ]
    if choices:
        return next(choice for choice in choices if choice != entry.value)
    if entry.name == "augmentations":
        return ("noise", "mixup")
    if options == (str, ...):
        return ("a b=$(reboot)", "-x'*", "--seed=3")
    if isinstance(entry.value, tuple):
        return tuple(value / 2 + 0.3 if isinstance(value, float) else value + 1 for value in entry.value)
    if entry.kind is int or int in options:
        return (entry.value or 0) + 1
    if entry.kind is float or float in options:
        return -0.1 if entry.value is None else entry.value / 3 + 1e-7
    return "-$HOME/`it's` ü;"


def changed(config, name: str, value):
    """The configuration with another value of one setting, wherever it is nested."""
    for each in dataclasses.fields(config):
        inner = getattr(config, each.name)
        if each.name == name:
            return dataclasses.replace(config, **{name: value})
        if dataclasses.is_dataclass(inner) and name in {entry.name for entry in entries(inner)}:
            return dataclasses.replace(config, **{each.name: changed(inner, name, value)})
    raise AssertionError(name)


@pytest.mark.parametrize("config", [PRESETS["article"], CrossvalConfig(training=CROSSVAL_PRESETS["best"])])
def test_a_pasted_command_gives_every_setting_again(config) -> None:
    everything = config
    for entry in entries(config):
        if entry.name not in ("preset", "groups"):
            everything = changed(everything, entry.name, another(entry))
    everything = changed(everything, "groups", "/elsewhere/my groups.csv")
    command = "crossval" if isinstance(config, CrossvalConfig) else "train"
    # Not by shown_command, which would refuse such a mixture.
    data, given = parsed(shlex.join(["medjax", command, "scans", *option_words(everything)]))
    assert data == "scans"
    assert given == everything
    assert len(flags_for(given, config)) > len(list(entries(config)))  # a test of nothing would be empty


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_all_that_is_named_where_nothing_else_differs(preset) -> None:
    assert option_words(PRESETS[preset]) == ([] if preset == "standard" else ["--preset", preset])
    if preset == "standard":  # whose runs hold what was settled
        return
    assert parsed(shown_command(run_of(PRESETS[preset]))) == ("scans", PRESETS[preset])
    config = CrossvalConfig(folds=3, training=CROSSVAL_PRESETS[preset])
    assert parsed(shown_command(run_of(config))) == ("scans", config)


def test_a_run_of_standard_is_shown_with_all_that_was_settled() -> None:
    config = dataclasses.replace(PRESETS["fast"], preset="standard")
    command = shown_command(run_of(config))
    assert "--preset" not in command
    assert parsed(command) == ("scans", config)


def test_no_path_and_no_stored_word_is_shown() -> None:
    config = changed(PRESETS["report"], "groups", "/home/someone/secret/groups.csv")
    assert shown_command(run_of(config)) == "medjax train scans --preset report --groups groups.csv"


@pytest.mark.parametrize("name", ["-rf", "phantom", "my scans; reboot", "$(reboot)", "--seed=1"])
def test_the_name_of_the_data_is_a_name_to_the_shell_and_to_medjax(name) -> None:
    data, config = parsed(shown_command(run_of(PRESETS["report"], path=f"/data/{name}")))
    assert data in (name, f"./{name}")
    assert data != "phantom"
    assert config == PRESETS["report"]
    synthetic = run_of(PRESETS["report"], path="phantom")
    synthetic["data"]["is_synthetic"] = True
    assert shown_command(synthetic) == "medjax train phantom --preset report"


def test_what_was_given_in_python_is_shown_as_the_call() -> None:
    config = dataclasses.replace(PRESETS["fast"], epochs=3, data=DataConfig(image_size=32, ignore=("a'b",)))
    call = shown_command(run_of(config, path=None))
    assert call.startswith("medjax.train(dataset, TrainConfig(preset='fast', epochs=3, ")
    assert eval(call.removeprefix("medjax.train(dataset, ").removesuffix(")"), NAMESPACE) == config
    folded = CrossvalConfig(only_fold=1, training=dataclasses.replace(config, model="python"))
    call = shown_command(run_of(folded, source="python"))
    assert call.startswith("medjax.cross_validate('scans', CrossvalConfig(only_fold=1, training=TrainConfig(")
    assert call.endswith(", model=model)")
    assert "python" not in call


def test_settings_that_are_not_valid_make_no_command() -> None:
    run = run_of(PRESETS["report"])
    run["config"]["seed"] = "1; reboot"
    assert shown_command(run) == "none: run.json: --seed: '1; reboot' is not a whole number (0 to 4294967295)"
