"""The commands: which arguments are required, and the defaults of an audit."""

import dataclasses

import pytest

from medjax import commands
from medjax.config import DataConfig, TrainConfig
from medjax.settings import with_values

COMMANDS = commands.Command.__args__


def test_every_command_says_what_it_does():
    assert [command.__name__ for command in COMMANDS] == [
        "Train", "Crossval", "Sweep", "Evaluate", "Compare", "Predict", "Explain", "Audit", "Split", "Fetch",
    ]  # fmt: skip
    assert all(command.__doc__.strip().endswith(".") or "…" in command.__doc__ for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_only_positional_arguments_are_required(command):
    required = {
        each.name
        for each in dataclasses.fields(command)
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }
    assert required <= {"data", "run", "images", "out", "name", "first", "second"}


def test_an_audit_is_of_the_split_that_train_would_draw():
    assert (
        commands.Audit("data").config == DataConfig() == with_values(TrainConfig().data, {"image_size": 28})
    )
