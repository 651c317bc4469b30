"""The help: short for everybody, complete on demand, and true to what the parser takes."""

import dataclasses
import re

import pytest

from medjax import cli
from medjax.command_help import describe_command, describe_commands, name_of, refuse_unknown
from medjax.config import PRESETS
from medjax.errors import RefusedError
from medjax.settings import entries

NAMES = ["train", "crossval", "sweep", "evaluate", "compare", "predict", "explain", "audit", "split", "fetch"]
HEADINGS = [
    "general", "data", "network", "optimization", "augmentation", "early stopping", "plateau", "evaluation",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def command(name, preset="report"):
    [found] = [each for each in cli._commands(preset) if name_of(type(each)) == name]
    return found


def options_of(name):
    """(field name, type) of every option, by the dataclasses alone."""
    for each in dataclasses.fields(type(made := command(name))):
        if dataclasses.is_dataclass(value := getattr(made, each.name)):
            yield from ((entry.name, entry.kind) for entry in entries(value))
        elif "Positional" not in str(each.type):
            yield each.name, each.type


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_help_fits_a_screen(name, preset):
    lines = describe_command(command(name, preset), is_complete=False).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", ["train", "crossval"])
def test_help_shows_what_people_change(name):
    text = describe_command(command(name), is_complete=False)
    common = [
        "run",
        "resume",
        "preset",
        "seed",
        "epochs",
        "batch-size",
        "learning-rate",
        "model",
        "image-size",
    ]
    common += ["groups", "group-duplicates", "augment", "no-augment", "keep", "json"]
    common += ["folds", "repeats"] if name == "crossval" else []
    for flag in common:
        assert re.search(rf"(^  |, )--{flag}\b", text, flags=re.MULTILINE), flag
    assert "--plateau-factor" not in text
    assert text.endswith(f"medjax {name} --help-all shows all options.\n")


@pytest.mark.parametrize("name", NAMES)
def test_help_all_shows_every_option_once(name):
    text = describe_command(command(name), is_complete=True)
    shown = re.findall(r"^  --([a-z-]+)", text, flags=re.MULTILINE)
    assert sorted(shown) == sorted(option.replace("_", "-") for option, _ in options_of(name))
    assert max(map(len, text.splitlines())) <= 80


def test_help_all_has_its_options_under_headings():
    text = describe_command(command("train"), is_complete=True)
    assert re.findall(r"^([a-z -]+) options:$", text, flags=re.MULTILINE) == HEADINGS
    assert re.search(r"^network options:\n  --model NAME", text, flags=re.MULTILINE)
    with_folds = describe_command(command("crossval"), is_complete=True)
    assert re.search(r"^cross-validation options:\n  --folds INT", with_folds, flags=re.MULTILINE)


SPECIAL = {"window": "auto", "calibrate": "vector"}
"""Values of settings that take words or numbers."""
EMPTY = {
    **dict.fromkeys(("labels", "groups", "label_column", "image_column", "group_column", "part_column"), "3"),
    **dict.fromkeys(("table_encoding", "group_pattern", "pretrained"), "3"),
    "label_columns": ("3",),
    "unfreeze_after": 3,
    "zip_encoding": "3",
    "only_fold": 3,
    "positive": "3",
    "prevalence": 3.0,
    "coverage": 3.0,
    "stop_baseline": 3.0,
    "ignore": ("3",),
    "model_set": ("3",),
}
"""What `3` makes of the settings that are empty by default."""


@pytest.mark.parametrize("name", ["train", "crossval"])
def test_every_setting_has_its_flag(name):
    arguments, expected = [name, "x"], {}
    for entry in entries(command(name).config):
        flag = "--" + entry.name.replace("_", "-")
        if entry.name in SPECIAL:
            arguments += [flag, SPECIAL[entry.name]]
            expected[entry.name] = SPECIAL[entry.name]
        elif entry.value in (None, ()):
            arguments += [flag, "3"]
            expected[entry.name] = EMPTY[entry.name]
        elif isinstance(entry.value, bool):
            arguments += [flag]
            expected[entry.name] = True
        else:
            words = entry.value if isinstance(entry.value, tuple) else [entry.value]
            arguments += [flag, *map(str, words)]
            expected[entry.name] = entry.value
    assert {entry.name: entry.value for entry in entries(cli._parse(arguments).config)} == expected


def test_defaults_are_those_of_the_preset_that_is_named():
    assert "(default: 9)" in describe_command(command("train", "fast"), is_complete=False)
    assert "(default: 16 32 64)" in describe_command(command("train", "fast"), is_complete=True)
    assert "(default: 20)" in describe_command(command("train"), is_complete=False)


def test_the_overview_has_a_line_for_each_command_and_says_where_to_begin():
    text = describe_commands(cli._commands("report"))
    assert re.findall(r"^  ([a-z]+)  +[A-Z].*\.$", text, flags=re.MULTILINE) == NAMES
    assert "medjax train phantom" in text
    assert "--help-all" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--lr", "1"], ["--lr: is not an option of medjax train (did you mean --learning-rate?)"]),
        (
            ["--tta", "4"],
            ["--tta: is not an option of medjax train (did you mean --test-time-augmentation?)"],
        ),
        (["--epoch=3"], ["--epoch: is not an option of medjax train (did you mean --epochs?)"]),
        (["--foo"], ["--foo: is not an option of medjax train (see medjax train --help-all)"]),
        (
            ["--batchsize", "3", "--folds", "4"],
            [
                "--batchsize: is not an option of medjax train (did you mean --batch-size?)",
                "--folds: is not an option of medjax train (see medjax train --help-all)",
            ],
        ),
        (["y"], ["y: is one argument too many (see medjax train --help)"]),
    ],
)
def test_unknown_arguments_are_refused_with_what_was_meant(words, lines):
    assert refuse_unknown(command("train"), words).lines() == lines


@pytest.mark.parametrize("name", ["train", "crossval"])
@pytest.mark.parametrize(
    "words",
    [
        ["--lr", "0.1", "phantom"],  # tyro takes 0.1 for the data
        ["phantom", "--lr", "0.1"],
        ["phantom", "--lr=0.1"],
        ["--lr", "0.1"],  # tyro misses the data
        ["phantom", "--epochs", "x", "--lr", "1"],
        ["phantom", "--lr"],
        ["phantom", "-lr", "0.1"],
    ],
)
def test_an_unknown_option_is_named_before_what_it_confuses(name, words):
    with pytest.raises(
        RefusedError, match=rf"^-?-lr: is not an option of medjax {name} \(did you mean --learning-rate"
    ):
        cli._parse([name, *words])


def test_what_only_looks_like_an_option_is_taken():
    words = ["--ignore=--lr", "--stop-baseline", "-1e-3", "--no-augment", "--early_stopping", "--", "--lr"]
    command = cli._parse(["train", *words])
    assert command.data == "--lr"
    assert command.config.data.ignore == ("--lr",)
    assert command.config.stopping.stop_baseline == -1e-3
    assert command.config.early_stopping
    assert not command.config.augment


@pytest.mark.parametrize("columns", [50, 60, 70])
def test_no_line_breaks_inside_a_flag(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = describe_command(command("train"), is_complete=False)
    assert "--best-monitor" in text
    assert not re.search(r"--[a-z-]*-$", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        (["train", "phantom", "--keep", "bset"], "medjax train: invalid choice 'bset' for", "train --help)"),
        (["train", "phantom", "--epochs", "x"], "medjax train: Error parsing --epochs: ", "train --help)"),
        (["train", "--epochs"], "medjax train: Missing value for argument '--epochs'", "train --help)"),
        (["audit"], "medjax audit: Missing from medjax audit: DATA (see", "audit --help)"),
        (["frob"], "medjax: Expected one of {train, crossval, ", "} (see medjax --help)"),
        ([], "medjax: Expected one of {train, crossval, ", "(see medjax --help)"),
    ],
)
def test_wrong_usage_is_refused_in_one_line(words, start, end):
    with pytest.raises(RefusedError) as caught:
        cli._parse(words)
    (line,) = caught.value.lines()
    assert line.startswith(start)
    assert line.endswith(end)
    assert not set("│╭╰─\n") & set(line)
