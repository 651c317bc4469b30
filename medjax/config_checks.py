"""Checks of a configuration: the type and range of each setting, and the rules between settings."""

import dataclasses
import reprlib
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from medjax.config import BUILT_IN, PRESETS, AugmentConfig, CrossvalConfig, DataConfig, TrainConfig
from medjax.errors import Problem, RefusedError, counted, listed, refuse
from medjax.settings import Entry, Setting, entries, flag_of, kinds_of, unsettled

Config = TrainConfig | CrossvalConfig


def require_valid(config: Config) -> None:
    """Raise RefusedError, naming the flag of every setting that is wrong by itself or beside the others."""
    found = list(entries(config))
    wrong = {entry.name: problem for entry in found if (problem := _field_problem(entry))}
    problems = list(wrong.values())
    if isinstance(config, CrossvalConfig):
        problems += _broken_crossval_rules(_with_defaults(config, wrong))
    training = config.training if isinstance(config, CrossvalConfig) else config
    if isinstance(training, TrainConfig):
        training = _with_defaults(training, wrong)
        problems += _broken_rules(training)
        problems += _settings_without_effect(training, [entry for entry in found if entry.name not in wrong])
    if problems:
        raise RefusedError(problems)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration in a run.json, whose content is not trusted: the inverse of `dataclasses.asdict`.

    Raises RefusedError for unknown or missing names, and for values that `require_valid` refuses.
    """
    config = _build(CrossvalConfig if "training" in values else TrainConfig, values)
    if missing := unsettled(config):
        raise refuse("run.json", f"holds no value of {listed(missing)}", "restore it from a copy")
    try:
        require_valid(config)
    except RefusedError as error:
        raise RefusedError(each._replace(name=f"run.json: {each.name}") for each in error.problems) from None
    return config


def _build(owner: type, values: Any) -> Any:
    fields = {each.name: each for each in dataclasses.fields(owner)}
    names = set(fields)
    given = set(values) if isinstance(values, Mapping) else set()
    required = {name for name, each in fields.items() if not _is_added(each)}
    if not required <= given <= names:
        raise refuse(
            "run.json",
            f"was written by another version of medjax: its settings differ in {listed(sorted(names ^ given))}",
            "install the version that its field medjax names, or train again",
        )
    kinds = kinds_of(owner)
    return owner(
        **{
            name: _build(kinds[name], value) if dataclasses.is_dataclass(kinds[name]) else value
            for name, value in values.items()
        }
    )


def _is_added(field: dataclasses.Field) -> bool:
    return "setting" in field.metadata and field.metadata["setting"].is_added


def _field_problem(entry: Entry) -> Problem | None:
    fault = _fault(entry.kind, entry.value, entry.setting or Setting("general"))
    return None if fault is None else Problem(flag_of(entry.name), *fault)


_Fault = tuple[str, str]  # what is wrong, and what would be right
_LONGEST = 10_000  # of a text, in characters; of a tuple, in values
_MOST_MODELS = 9999  # of a cross-validation: each has a directory
_HIGHEST_COST = 1e6  # of a missed image of the positive class, in false alarms
_MOST_BLOCKS = 16  # each halves the sides of the image: 4096 pixels are one after 12
_NOUNS = {bool: "True or False", str: "text", int: "a whole number", float: "a number"}


def _fault(kind: Any, value: Any, setting: Setting) -> _Fault | None:
    """What is wrong with the type or range of a value, or None."""
    options = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        faults = [_fault(option, value, setting) for option in options]
        is_tuple = [get_origin(option) is tuple for option in options]
        # Of a tuple say what is wrong inside, if there may be one.
        blamed = is_tuple.index(True) if isinstance(value, tuple) and any(is_tuple) else 0
        return None if None in faults else faults[blamed]
    if get_origin(kind) is Literal:
        return None if value in options else (f"{reprlib.repr(value)} is not a choice", ", ".join(options))
    if get_origin(kind) is tuple:
        return _tuple_fault(options, value, setting)
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"has {len(value):,} characters", f"at most {_LONGEST:,}"
    is_number = kind in (int, float)
    if type(value) is not kind:
        noun = _NOUNS.get(kind, f"a {kind.__name__}")
        return f"{reprlib.repr(value)} is not {noun}", setting.limits if is_number else f"give {noun}"
    if is_number and not setting.is_in_range(value):
        return f"{value} is out of range", setting.limits
    return None


def _tuple_fault(options: tuple[Any, ...], value: Any, setting: Setting) -> _Fault | None:
    if not isinstance(value, tuple):
        return f"{reprlib.repr(value)} is not a tuple", "give one, in parentheses"
    if len(value) > _LONGEST:
        return f"has {len(value):,} values", f"at most {_LONGEST:,}"
    if options[-1] is not Ellipsis and len(value) != len(options):
        return f"has {counted(len(value), 'value')}", f"give {len(options)}"
    fault = next((fault for element in value if (fault := _fault(options[0], element, setting))), None)
    if fault is None and setting.is_ascending and any(low >= high for low, high in pairwise(value)):
        return f"{_text(value)} is not ascending", "give the lower number first"
    return fault


def _with_defaults(config: Any, wrong: Collection[str]) -> Any:
    """The configuration with its wrong settings replaced by their defaults, so that the rules can read it."""
    return dataclasses.replace(
        config, **{each.name: each.default for each in dataclasses.fields(config) if each.name in wrong}
    )


def _broken_crossval_rules(config: CrossvalConfig) -> Iterator[Problem]:
    num_models = config.folds * config.repeats
    if num_models > _MOST_MODELS:
        yield Problem(
            "--repeats", f"{config.repeats} of {config.folds} folds", f"at most {_MOST_MODELS:,} models"
        )
    if config.only_fold is not None and config.only_fold >= num_models:
        yield Problem("--only-fold", f"{config.only_fold} is out of range", f"0 to {num_models - 1}")
    is_trained = isinstance(config.training, TrainConfig) and isinstance(config.training.data, DataConfig)
    if is_trained and config.training.data.val_as_test and not config.keep_test:
        remedy = "leave it out: all parts are pooled; or add --keep-test"
        yield Problem("--val-as-test", "has no effect on a cross-validation without --keep-test", remedy)


def _broken_rules(config: TrainConfig) -> Iterator[Problem]:
    if config.loss_proportional_sampling and config.class_balance == "sampling":
        reason = "sampling excludes --loss-proportional-sampling"
        yield Problem("--class-balance", reason, "give one of them, or --class-balance weights")
    if isinstance(config.data, DataConfig):
        yield from _broken_data_rules(config.data)
    if config.test_time_augmentation and not config.augment:
        yield Problem("--test-time-augmentation", "needs augmentation", "leave --no-augment out")
    names = config.augmentation.augmentations
    if names == ():
        yield Problem("--augmentations", "names none", "name one, or give --no-augment")
    if names is not None and "affine" not in names:
        yield from _affine_without_effect(config)
    if config.keep == "stopping" and not config.early_stopping:
        yield Problem("--keep", "stopping needs early stopping", "give --early-stopping")
    if abs(sum(config.fractions) - 1) > 1e-6:
        reason = f"{_text(config.fractions)} do not sum to 1"
        yield Problem("--fractions", reason, "such as 0.8 0.1 0.1")
    if config.block_features is not None and not 1 <= len(config.block_features) <= _MOST_BLOCKS:
        reason = f"{len(config.block_features) or 'no'} blocks"
        yield Problem("--block-features", reason, f"1 to {_MOST_BLOCKS} numbers, such as 32 64")
    if threshold_rule(config.threshold) is None:
        remedy = "youden, or such as sensitivity=0.95, specificity=0.95 or cost=10"
        yield Problem("--threshold", f"{reprlib.repr(config.threshold)} is no rule", remedy)
    if config.model_set and config.model == BUILT_IN:
        reason = f"the built-in network {BUILT_IN} has options of its own"
        yield Problem("--model-set", reason, "use them, or give --model file.py:name")
    if config.epochs is not None:  # else it is checked when they are settled
        yield from broken_unfreezing(config)
    for pair in config.model_set:
        name, equals, _ = pair.partition("=")
        if not (equals and name.isidentifier()):
            yield Problem("--model-set", f"{pair} is not key=value", "such as --model-set depth=18")


def threshold_rule(text: str) -> tuple[str, float] | None:
    """The name and the number of the setting `threshold`; None if there is no such rule."""
    name, _, number = text.partition("=")
    if text == "youden":
        return text, 0.0
    try:
        wanted = float(number)
    except ValueError:
        return None
    is_known = (name in ("sensitivity", "specificity") and 0 < wanted <= 1) or (
        name == "cost" and 0 < wanted <= _HIGHEST_COST
    )
    return (name, wanted) if is_known else None


def broken_unfreezing(config: TrainConfig) -> Iterator[Problem]:
    """What is wrong with the epoch after which features are trained; `epochs` must be settled."""
    if config.unfreeze_after is not None and config.unfreeze_after >= config.epochs:
        reason = f"{config.unfreeze_after} of {counted(config.epochs, 'epoch')}"
        yield Problem("--unfreeze-after", reason, f"less than --epochs, {config.epochs}")


def _broken_data_rules(config: DataConfig) -> Iterator[Problem]:
    if config.labels is not None and config.nested != "refuse":
        remedy = "leave it out: --group-pattern finds patients in paths"
        yield Problem("--nested", f"{config.nested} has no effect beside --labels", remedy)
    if config.label_column is not None and config.label_columns:
        yield Problem("--label-column", "excludes --label-columns", "give one of them")


def _settings_without_effect(config: TrainConfig, found: Collection[Entry]) -> Iterator[Problem]:
    """Settings that need another one to have an effect, and are neither the default nor the preset's."""
    values, default, preset = (
        {each.name: each.value for each in entries(recipe)}
        for recipe in (config, TrainConfig(), PRESETS[config.preset])
    )
    default |= {each.name: each.value for each in entries(AugmentConfig())}  # with what `standard` settles
    for name, _, setting, value in found:
        if setting is None or setting.has_effect(values) or value in (default[name], preset[name]):
            continue
        flag, effective = _either([*map(flag_of, setting.needed)]), [*setting.needs[1:]]
        switch = flag if effective in ([], [True]) else f"{flag} {_either(effective)}"
        yield Problem(flag_of(name), f"{_text(value)} has no effect", f"it needs {switch}")


def _affine_without_effect(config: TrainConfig) -> Iterator[Problem]:
    default, preset = AugmentConfig(), PRESETS[config.preset].augmentation
    for name in ("rotation", "shift", "zoom"):
        value = getattr(config.augmentation, name)
        if value not in (getattr(default, name), getattr(preset, name)):
            yield Problem(flag_of(name), f"{value} has no effect", "it needs --augmentations affine")


def _either(words: Collection[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
