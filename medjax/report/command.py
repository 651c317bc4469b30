"""The command that repeats a run, made anew from its settings: what run.json holds as its command may be a stranger's."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax.config import CROSSVAL_PRESETS, PRESETS, CrossvalConfig, TrainConfig
from medjax.config_checks import from_dict
from medjax.errors import RefusedError
from medjax.settings import flags_for

Config = TrainConfig | CrossvalConfig


def shown_command(run: Mapping[str, Any]) -> str:
    """The command line that repeats a run, quoted for a shell, to be given in the folder that holds the data.

    The data and the tables have their names there, not their paths. Of data or a network that were given in Python,
    the call that takes them; of settings that are not valid, what is wrong with them.
    """
    try:
        config = _without_paths(from_dict(run["config"]))
    except RefusedError as error:
        return f"none: {error.lines()[0]}"
    path = run["data"]["path"]
    if path is None or run["model"].get("source") == "python":
        return _shown_call(run, config)
    data = Path(path).name
    # Neither a built-in data set nor an option.
    is_mistaken = data.startswith("-") or (data == "phantom" and not run["data"]["is_synthetic"])
    return shlex.join(["medjax", _job(config), f"./{data}" if is_mistaken else data, *option_words(config)])


def option_words(config: Config) -> list[str]:
    """The options of `medjax train`, or `crossval`, that give this configuration; not yet quoted for a shell."""
    preset = _training(config).preset
    defaults = (
        CrossvalConfig(training=CROSSVAL_PRESETS[preset])
        if isinstance(config, CrossvalConfig)
        else PRESETS[preset]
    )
    named = [] if preset == TrainConfig().preset else ["--preset", preset]
    return [*named, *flags_for(config, defaults)]


def _job(config: Config) -> str:
    return "crossval" if isinstance(config, CrossvalConfig) else "train"


def _training(config: Config) -> TrainConfig:
    return config.training if isinstance(config, CrossvalConfig) else config


def _with_training(config: Config, training: TrainConfig) -> Config:
    return dataclasses.replace(config, training=training) if isinstance(config, CrossvalConfig) else training


def _without_paths(config: Config) -> Config:
    training = _training(config)
    paths = {"labels": training.data.labels, "groups": training.data.groups}
    names: dict[str, Any] = {name: None if path is None else Path(path).name for name, path in paths.items()}
    data = dataclasses.replace(training.data, **names)
    pretrained = None if training.pretrained is None else Path(training.pretrained).name
    return _with_training(config, dataclasses.replace(training, data=data, pretrained=pretrained))


def _shown_call(run: Mapping[str, Any], config: Config) -> str:
    is_own = run["model"].get("source") == "python"
    if is_own:  # the setting only says so
        training = dataclasses.replace(_training(config), model=TrainConfig().model)
        config = _with_training(config, training)
    path = run["data"]["path"]
    arguments = ["dataset" if path is None else repr(Path(path).name), _constructed(config)]
    function = "cross_validate" if isinstance(config, CrossvalConfig) else "train"
    return f"medjax.{function}({', '.join([*arguments, *['model=model'] * is_own])})"


def _constructed(config: Any) -> str:
    """The Python expression that makes a configuration, with only what differs from the defaults."""
    default = type(config)()
    arguments = []
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if value != getattr(default, each.name):
            shown = _constructed(value) if dataclasses.is_dataclass(value) else repr(value)
            arguments.append(f"{each.name}={shown}")
    return f"{type(config).__name__}({', '.join(arguments)})"
