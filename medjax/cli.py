"""The command line: parse, call one job, print. Progress goes to stderr, results to stdout."""

import argparse
import contextlib
import dataclasses
import functools
import io
import operator
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo

from medjax import process
from medjax.command_help import (
    describe_command,
    describe_commands,
    name_of,
    refuse_unknown,
    refuse_usage,
    unknown_flags,
)
from medjax.commands import (
    Audit,
    Command,
    Compare,
    Crossval,
    Evaluate,
    Explain,
    Fetch,
    Predict,
    Split,
    Sweep,
    Train,
)
from medjax.config import CROSSVAL_PRESETS, PRESETS, CrossvalConfig, PresetName, TrainConfig
from medjax.errors import DivergedError, Problem, RefusedError, command_line, counted, refusal_of, refuse
from medjax.problem_list import lines_of
from medjax.settings import entries, flag_of, flags_for


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends by SystemExit with the status that the README lists."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        process.begin()
        _run(_read_as_trained(_parse(arguments), arguments), shlex.join(["medjax", *arguments]))
    except RefusedError as error:
        process.fail(process.REFUSED, lines_of(error))
    except DivergedError as error:
        process.fail(process.DIVERGED, [str(error)])
    except KeyboardInterrupt:
        process.end_if_stopped(128 + signal.SIGINT)
    except SystemExit as error:
        process.end_if_stopped(error.code)
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        if (refusal := refusal_of(error)) is None:
            raise
        process.fail(process.REFUSED, refusal.lines())
    sys.exit(0)


def _parse(arguments: Sequence[str]) -> Command:
    """The command, with the defaults of the preset that the arguments name; --help prints and ends by SystemExit."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--preset")
    finder.add_argument("-h", "--help", action="store_true")
    finder.add_argument("--help-all", action="store_true")
    try:
        found = finder.parse_known_args(arguments)[0]
    except argparse.ArgumentError:  # nothing follows --preset, as tyro will say
        found = argparse.Namespace(preset="standard", help=False, help_all=False)
    # An unknown preset is left for tyro to refuse.
    commands = _commands(found.preset if found.preset in PRESETS else "standard")
    if found.help or found.help_all:
        named = [each for each in commands if [name_of(type(each))] == arguments[:1]]
        text = (
            describe_command(named[0], is_complete=found.help_all) if named else describe_commands(commands)
        )
        process.show_text(text)
        sys.exit(0)
    return _parse_by_tyro(arguments, commands)


def _read_as_trained(command: Command, arguments: Sequence[str]) -> Command:
    """The command; for one that restores a run, with the run's own way to read images as the default."""
    if not isinstance(command, Evaluate | Predict | Explain):
        return command
    from medjax.jobs.run_images import reading_settings, without_table

    reading = reading_settings(command.run)
    if isinstance(command, Evaluate) and command.data is not None and command.reading.labels is None:
        reading = without_table(reading)
    commands = [
        dataclasses.replace(each, reading=reading) if isinstance(each, Evaluate | Predict | Explain) else each
        for each in _commands("standard")
    ]
    return _parse_by_tyro(arguments, commands)


def _parse_by_tyro(arguments: Sequence[str], commands: Sequence[Command]) -> Command:
    """The command, with the defaults of the one in `commands` that has its name."""
    # Before tyro, which takes the value of an unknown option for an argument and complains of that.
    for each in commands:
        if [name_of(type(each))] == arguments[:1] and (unknown := unknown_flags(each, arguments[1:])):
            raise refuse_unknown(each, unknown)
    arguments = _repeat_flags(arguments)
    subcommands: Any = [
        Annotated[type(each), tyro.conf.subcommand(name_of(type(each)), default=each)] for each in commands
    ]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            command, unknown = tyro.cli(
                functools.reduce(operator.or_, subcommands),
                prog="medjax",
                args=arguments,
                config=(tyro.conf.UseAppendAction,),
                registry=_TYPES,
                return_unknown_args=True,
            )
    except SystemExit as error:
        process.end_if_stopped(error.code)
        raise refuse_usage(printed.getvalue(), arguments, commands) from None
    if unknown:
        raise refuse_unknown(command, unknown)
    return command


def _repeat_flags(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--label-columns` before each of its names: `--label-columns a b` is `--label-columns a
    --label-columns b`, as tyro reads words."""
    repeated: list[str] = []
    is_inside = False
    for word in arguments:
        if word.startswith("--"):
            is_inside = word == _LISTING
        elif is_inside and repeated[-1:] != [_LISTING]:
            repeated.append(_LISTING)
        repeated.append(word)
    return repeated


def _commands(preset: PresetName) -> list[Command]:
    """Every command with its defaults, its required arguments missing."""
    missing = tyro.MISSING
    return [
        Train(missing, config=PRESETS[preset]),
        Crossval(missing, config=CrossvalConfig(training=CROSSVAL_PRESETS[preset])),
        Sweep(missing, config=PRESETS[preset]),
        Evaluate(missing),
        Compare(missing, missing),
        Predict(missing, images=missing),
        Explain(missing, images=missing),
        Audit(missing),
        Split(missing, missing),
        Fetch(missing),
    ]


_LISTING = "--label-columns"
_TYPES = ConstructorRegistry()


@_TYPES.primitive_rule
def _values_together(kind: PrimitiveTypeInfo) -> Any:
    """Read the numbers or choices of one option together, replacing the default; words repeat it: `--ignore a --ignore b`."""
    # By origin and arguments, because tyro may pass typing.Tuple, which is not equal to tuple.
    element, *rest = (*get_args(kind.type), None)
    is_together = get_origin(kind.type) is tuple and rest[0] is Ellipsis and element is not str
    if not is_together or tyro.conf.UseAppendAction not in kind.markers:
        return None  # tyro's own rules
    whole = PrimitiveTypeInfo.make(kind.type, kind.markers - {tyro.conf.UseAppendAction})
    return ConstructorRegistry.get_primitive_spec(whole)


def _run(command: Command, line: str) -> None:
    # Imported here so that --help and usage errors do not wait for JAX.
    import medjax
    from medjax.jobs.datasets import fetch_data, split_data
    from medjax.jobs.run_images import without_table
    from medjax.report.terminal import comparison_lines

    if getattr(command, "compilation_cache", False):
        medjax.use_compilation_cache()
    match command:
        case Train() | Crossval() if command.on is not None or command.threads_per_fit is not None:
            _print_many(_fit_many(command, line), command.json)
        case Train() | Crossval() if command.seeds is not None:
            _print_seeds(_train_seeds(command, command.seeds, line), command.json)
        case Sweep():
            _print_sweep(_sweep(command, line), command.json)
        case Train(config=config):
            _print_trained(
                _compared(medjax.train(command.data, config, **_options(command, line)), command),
                command.json,
            )
        case Crossval(config=config):
            trained = medjax.cross_validate(command.data, config, **_options(command, line))
            _print_trained(_compared(trained, command), command.json)
        case Evaluate():
            trained = _load_run(command)
            scores = trained.evaluate(
                command.data,
                part=command.split,
                fold=command.fold,
                reading=command.reading,
                is_quiet=False,
            )
            _print_evaluation(scores, trained.record, command.json)
        case Compare():
            compared = medjax.compare_runs(
                command.first,
                command.second,
                positive=command.positive,
                specificity=command.specificity,
            )
            for line in compared["warnings"]:
                warnings.warn(line, stacklevel=1)
            process.show(*comparison_lines(compared))
            process.show(
                f"next: look at what changed, in predictions.csv of {command.first} and {command.second}"
            )
            if command.json:
                process.show_json(compared)
        case Predict():
            _print_probabilities(_load_run(command), command)
        case Explain():
            _print_explained(_load_run(command), command)
        case Audit():
            _print_audit(command, medjax.audit)
        case Split():
            split_data(
                command.data,
                command.out,
                test_share=command.test,
                seed=command.seed,
                config=command.config,
                is_quiet=False,
            )
            flags = flags_for(without_table(command.config), Split(command.data, command.out).config)
            _show_next("medjax", "train", command.out, *flags)
        case Fetch():
            _show_next("medjax", "train", fetch_data(command.name, command.directory, is_quiet=False))


def _load_run(command: Evaluate | Predict | Explain) -> Any:
    """The run, with the network that the user names for it; RefusedError for settings without a network."""
    import medjax

    if command.model is None:
        if command.model_set:
            raise refuse("--model-set", "no network is named", "give --model as well")
        return medjax.load_run(command.run)
    from medjax.models.registry import load_model

    return medjax.load_run(command.run, model=load_model(command.model, command.model_set))


def _options(command: Train | Crossval, line: str) -> dict[str, Any]:
    return {
        "run_dir": command.run,
        "resume": command.resume,
        "allow_version_change": command.allow_version_change,
        "command": line,
        "is_quiet": False,
    }


def _train_seeds(command: Train | Crossval, seeds: str, line: str) -> Any:
    """A run for each seed."""
    import medjax

    return medjax.train_seeds(
        command.data, command.config, seeds=_seeds_of(command, seeds), **_options(command, line)
    )


def _sweep(command: Sweep, line: str) -> Any:
    import medjax

    seeds = (command.config.seed,) if command.seeds is None else _seeds_of(command, command.seeds)
    return medjax.sweep(
        command.data,
        _grid_of(command.grid),
        command.config,
        seeds=seeds,
        choose_by=command.choose_by,
        on=command.on or "local",
        threads_per_fit=command.threads_per_fit,
        run_dir=command.run,
        resume=command.resume,
        compilation_cache=command.compilation_cache,
        command=line,
        is_quiet=False,
    )


def _grid_of(texts: Sequence[str]) -> dict[str, list[Any]]:
    """The values of --grid by the names of settings, read as the options of train of those names are."""
    kinds = {entry.name: entry.kind for entry in entries(TrainConfig())}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in kinds:
            raise refuse(f"--grid {text}", "names no setting of training", "such as learning_rate=1e-3,3e-4")
        if name in grid:
            raise refuse(f"--grid {text}", f"{name} is named twice", "give all of its values at once")
        grid[name] = [_grid_value(name, kinds[name], value) for value in values.split(",")]
    return grid


def _grid_value(name: str, kind: Any, text: str) -> Any:
    """One value of --grid; of a switch yes or no, of a setting of several numbers these with spaces between."""
    if kind is bool and text not in ("yes", "no"):
        raise refuse(f"--grid {name}={text}", "is neither yes nor no", "give these, with a comma between")
    flag = flag_of(name)
    if kind is bool:
        words = [flag if text == "yes" else f"--no-{flag[2:]}"]
    else:
        words = [f"{flag}={text}"] if text.startswith("-") or " " not in text else [flag, *text.split()]
    parsed = _parse_by_tyro(["train", "phantom", *words], _commands("standard"))
    assert isinstance(parsed, Train)
    return {entry.name: entry.value for entry in entries(parsed.config)}[name]


def _seeds_of(command: Train | Crossval | Sweep, seeds: str) -> tuple[int, ...]:
    """The seeds; RefusedError for options that are of a single run."""
    from medjax.jobs.seeds import parse_seeds

    training = command.config.training if isinstance(command, Crossval) else command.config
    if training.seed:
        raise refuse("--seed", "has no effect beside --seeds", "give one of them")
    if getattr(command, "compare_grouping", False):
        raise refuse("--compare-grouping", "is of a single run", "leave --seeds out")
    return parse_seeds(seeds)


def _fit_many(command: Train | Crossval, line: str) -> Any:
    """The folds, the seeds, or both, by the engine of --on; RefusedError for options that are of one process."""
    import medjax

    if command.on is None:
        raise refuse("--threads-per-fit", "is of the processes of --on", "give --on local:1 too")
    for flag, is_given in (
        ("--compare-grouping", command.compare_grouping),
        ("--allow-version-change", command.allow_version_change),
    ):
        if is_given:
            raise refuse(flag, "is of one process", "leave --on out")
    return medjax.fit_many(
        command.data,
        command.config,
        seeds=None if command.seeds is None else _seeds_of(command, command.seeds),
        on=command.on,
        threads_per_fit=command.threads_per_fit,
        run_dir=command.run,
        resume=command.resume,
        compilation_cache=command.compilation_cache,
        command=line,
        is_quiet=False,
    )


def _print_sweep(found: Any, as_json: bool) -> None:
    from medjax.report.sweep import sweep_lines

    process.show(*sweep_lines(found.metrics, found.directory))
    if as_json:
        process.show_json(found.metrics)


def _print_many(fitted: Any, as_json: bool) -> None:
    from medjax.jobs.seeds import SeedRuns

    (_print_seeds if isinstance(fitted, SeedRuns) else _print_trained)(fitted, as_json)


def _compared(trained: Any, command: Train | Crossval) -> Any:
    """The run; with --compare-grouping, after training it with duplicates grouped the other way too."""
    from medjax.jobs.compare_grouping import compare_grouping

    return compare_grouping(trained, command.data, is_quiet=False) if command.compare_grouping else trained


def _print_evaluation(scores: dict[str, Any], record: dict[str, Any], as_json: bool) -> None:
    from medjax.report.terminal import evaluation_lines

    process.show(*evaluation_lines(scores, record))
    if as_json:
        process.show_json(scores)


def _print_trained(trained: Any, as_json: bool) -> None:
    from medjax.report.terminal import training_lines

    scores = trained.metrics
    process.show(*training_lines(scores, trained.record, trained.directory))
    if as_json:
        process.show_json(scores)


def _print_seeds(trained: Any, as_json: bool) -> None:
    from medjax.report.seeds import seeds_lines

    metrics = trained.metrics
    process.show(*seeds_lines(metrics, trained.directory))
    if as_json:
        process.show_json(metrics)


def _print_probabilities(trained: Any, command: Predict) -> None:
    from medjax.jobs.outside_range import COLUMN
    from medjax.records import name_labels
    from medjax.runs.directory import exact_text

    class_names = trained.record["class_names"]
    if command.coverage is not None:
        trained.require_coverage(command.coverage)  # before images are read, which may take long
    left_out: list[Problem] = []
    ids, each, outside, predicted, _ = trained.predict_images(
        command.images, reading=command.reading, left_out=left_out
    )
    header = ["id", "predicted", *(f"p_{name}" for name in class_names)]
    columns = [each.mean(axis=0)]
    if len(each) > 1:
        header += [f"sd_{name}" for name in class_names]
        columns.append(each.std(axis=0, ddof=1))
    decided = trained.decide(columns[0])
    decisions = (
        [[]] * len(ids) if decided is None else [["positive" if each else "negative"] for each in decided]
    )
    sets: list[list[str]] = [[]] * len(ids)
    if command.coverage is not None:
        chosen = trained.prediction_sets(each, command.coverage)
        sets = [[name_labels(row, class_names)] for row in chosen]
    header += [] if decided is None else ["decision"]
    header += [] if command.coverage is None else ["set"]
    rows = [[*header, COLUMN]]
    for name, names, answer, decision, chosen, *row in zip(
        ids, outside, predicted, decisions, sets, *columns, strict=True
    ):
        texts = [text for values in row for text in exact_text(values)]
        rows.append([name, answer, *texts, *decision, *chosen, " ".join(names)])
    process.show_csv(rows)
    if left_out:
        raise RefusedError(left_out)


def _print_explained(trained: Any, command: Explain) -> None:
    from medjax.jobs.explain import PAGE, explain_into

    left_out: list[Problem] = []
    found = explain_into(
        trained,
        command.images,
        command.out,
        method=command.method,
        class_name=command.class_name,
        layer=command.layer,
        steps=command.steps,
        reading=command.reading,
        left_out=left_out,
    )
    process.show(
        f"{counted(len(found.classes), 'map')} by {found.method} in {command.out}; a map is no proof"
    )
    process.show(f"next: open {command.out / PAGE}")
    if left_out:
        raise RefusedError(left_out)


def _print_audit(command: Audit, audit: Callable[..., dict[str, Any]]) -> None:
    from medjax.jobs.audit import NEAR_DUPLICATES
    from medjax.report.terminal import audit_lines

    found = audit(command.data, command.config, seed=command.seed, out=command.out, is_quiet=False)
    process.show(*audit_lines(found))
    leaks = found["leakage"].get("test", {}).get("exact") and command.config.group_duplicates == "none"
    config = dataclasses.replace(command.config, group_duplicates="exact") if leaks else command.config
    words = ["medjax", "train", command.data, *flags_for(config, Audit(command.data).config)]
    words += ["--seed", str(command.seed)] if command.seed else []
    out = command.out if found["near_duplicates"]["groups"] else None
    look = (
        ""
        if out is None
        else f"look at {out / 'figures' / 'duplicates.png'} and {out / NEAR_DUPLICATES}; then "
    )
    process.show(f"next: {look}{command_line(words)}")
    if command.json:
        process.show_json(found)


def _show_next(*words: object) -> None:
    process.show(f"next: {command_line(map(str, words))}")
