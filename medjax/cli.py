"""The command line: parse, call one job, print. Progress goes to stderr, results to stdout."""

import argparse
import contextlib
import csv
import dataclasses
import functools
import io
import json
import logging
import operator
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo

from medjax.command_help import (
    describe_command,
    describe_commands,
    name_of,
    refuse_unknown,
    refuse_usage,
    unknown_flags,
)
from medjax.commands import Audit, Command, Compare, Crossval, Evaluate, Fetch, Predict, Split, Train
from medjax.config import CROSSVAL_PRESETS, PRESETS, CrossvalConfig, PresetName, ReadingConfig
from medjax.errors import DivergedError, RefusedError, printable, refuse

REFUSED, DIVERGED, INTERRUPTED, TERMINATED = 2, 3, 130, 143  # exit statuses


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends by SystemExit with the status that the README lists."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _interrupt)
    warnings.showwarning = _warn
    for name in ("absl", "asyncio"):  # of Orbax, whose errors reach us as exceptions
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _run(_read_as_trained(_parse(arguments), arguments), shlex.join(["medjax", *arguments]))
    except RefusedError as error:
        _fail(REFUSED, error.lines())
    except DivergedError as error:
        _fail(DIVERGED, [str(error)])
    except KeyboardInterrupt:
        _end_at_once(INTERRUPTED, "interrupted")
    except SystemExit as error:
        if error.code == TERMINATED:
            _end_at_once(TERMINATED, "terminated")
        raise
    except BrokenPipeError:
        # The reader of our stdout is gone. Discard the rest, or the interpreter's flush at exit fails again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
        found = argparse.Namespace(preset="report", help=False, help_all=False)
    # An unknown preset is left for tyro to refuse.
    commands = _commands(found.preset if found.preset in PRESETS else "report")
    if found.help or found.help_all:
        named = [each for each in commands if [name_of(type(each))] == arguments[:1]]
        text = (
            describe_command(named[0], is_complete=found.help_all) if named else describe_commands(commands)
        )
        print(text, end="")
        sys.exit(0)
    return _parse_by_tyro(arguments, commands)


def _read_as_trained(command: Command, arguments: Sequence[str]) -> Command:
    """The command; for one that restores a run, with the run's own way to read images as the default."""
    if not isinstance(command, Evaluate | Predict):
        return command
    from medjax.jobs.restored_run import reading_settings

    reading = reading_settings(command.run)
    commands = [
        dataclasses.replace(each, reading=reading) if isinstance(each, Evaluate | Predict) else each
        for each in _commands("report")
    ]
    return _parse_by_tyro(arguments, commands)


def _parse_by_tyro(arguments: Sequence[str], commands: Sequence[Command]) -> Command:
    """The command, with the defaults of the one in `commands` that has its name."""
    # Before tyro, which takes the value of an unknown option for an argument and complains of that.
    for each in commands:
        if [name_of(type(each))] == arguments[:1] and (unknown := unknown_flags(each, arguments[1:])):
            raise refuse_unknown(each, unknown)
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
    except SystemExit:
        raise refuse_usage(printed.getvalue(), arguments, commands) from None
    if unknown:
        raise refuse_unknown(command, unknown)
    return command


def _commands(preset: PresetName) -> list[Command]:
    """Every command with its defaults, its required arguments missing."""
    missing = tyro.MISSING
    return [
        Train(missing, config=PRESETS[preset]),
        Crossval(missing, config=CrossvalConfig(training=CROSSVAL_PRESETS[preset])),
        Evaluate(missing),
        Compare(missing, missing),
        Predict(missing, images=missing),
        Audit(missing),
        Split(missing, missing),
        Fetch(missing),
    ]


_TYPES = ConstructorRegistry()


@_TYPES.primitive_rule
def _numbers_together(kind: PrimitiveTypeInfo) -> Any:
    """Read the numbers of one option together, replacing the default; words repeat it: `--ignore a --ignore b`."""
    # By origin and arguments, because tyro may pass typing.Tuple, which is not equal to tuple.
    is_numbers = (get_origin(kind.type), get_args(kind.type)) == (tuple, (int, ...))
    if not is_numbers or tyro.conf.UseAppendAction not in kind.markers:
        return None  # tyro's own rules
    whole = PrimitiveTypeInfo.make(kind.type, kind.markers - {tyro.conf.UseAppendAction})
    return ConstructorRegistry.get_primitive_spec(whole)


def _run(command: Command, line: str) -> None:
    # Imported here so that --help and usage errors do not wait for JAX.
    import medjax
    from medjax.jobs.datasets import fetch_data, split_data
    from medjax.report.terminal import comparison_lines

    if getattr(command, "compilation_cache", False):
        medjax.use_compilation_cache()
    match command:
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
            compared = medjax.compare_runs(command.first, command.second)
            for line in compared["warnings"]:
                warnings.warn(line, stacklevel=1)
            print("\n".join(comparison_lines(compared)))
            print(f"next: look at what changed, in predictions.csv of {command.first} and {command.second}")
            if command.json:
                print(json.dumps(compared))
        case Predict():
            _print_probabilities(_load_run(command), command.images, command.reading)
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
            print(f"next: medjax train {command.out}")
        case Fetch():
            print(f"next: medjax train {fetch_data(command.name, command.directory, is_quiet=False)}")


def _load_run(command: Evaluate | Predict) -> Any:
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


def _compared(trained: Any, command: Train | Crossval) -> Any:
    """The run; with --compare-grouping, after training it with duplicates grouped the other way too."""
    from medjax.jobs.compare_grouping import compare_grouping

    return compare_grouping(trained, command.data, is_quiet=False) if command.compare_grouping else trained


def _print_evaluation(scores: dict[str, Any], record: dict[str, Any], as_json: bool) -> None:
    from medjax.report.terminal import evaluation_lines

    print("\n".join(evaluation_lines(scores, record)))
    if as_json:
        print(json.dumps(scores))


def _print_trained(trained: Any, as_json: bool) -> None:
    from medjax.report.terminal import training_lines

    scores = trained.metrics
    print("\n".join(training_lines(scores, trained.record, trained.directory)))
    if as_json:
        print(json.dumps(scores))


def _print_probabilities(trained: Any, images: Sequence[str], reading: ReadingConfig) -> None:
    from medjax.runs.directory import exact_text

    class_names = trained.record["class_names"]
    ids, each = trained.predict_folds(images, reading=reading)
    header = ["id", "predicted", *(f"p_{name}" for name in class_names)]
    columns = [each.mean(axis=0)]
    if len(each) > 1:
        header += [f"sd_{name}" for name in class_names]
        columns.append(each.std(axis=0, ddof=1))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    for name, *row in zip(ids, *columns, strict=True):
        texts = [text for values in row for text in exact_text(values)]
        writer.writerow([name, class_names[row[0].argmax()], *texts])


def _print_audit(command: Audit, audit: Callable[..., dict[str, Any]]) -> None:
    from medjax.report.terminal import audit_lines

    found = audit(command.data, command.config, seed=command.seed, out=command.out, is_quiet=False)
    print("\n".join(audit_lines(found)))
    leaks = found["leakage"].get("test", {}).get("exact") and command.config.group_duplicates == "none"
    picture = f"look at {command.out / 'figures' / 'duplicates.png'}; then " if command.out else ""
    print(f"next: {picture}medjax train {command.data}{' --group-duplicates exact' if leaks else ''}")
    if command.json:
        print(json.dumps(found))


def _terminate(signal_number: int, frame: object) -> None:
    _ignore_signals()
    sys.exit(TERMINATED)


def _interrupt(signal_number: int, frame: object) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """Ignore further signals, so that a second Ctrl-C does not interrupt saving."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"medjax: warning: {printable(str(message))}", file=sys.stderr)


def _end_at_once(status: int, word: str) -> None:
    """Exit without the interpreter's cleanup: threads of XLA may still be computing and would crash after it.

    All that must be kept is saved by then.
    """
    print(f"medjax: error: {word}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _fail(status: int, lines: Sequence[str]) -> None:
    for line in lines:
        print(f"medjax: error: {printable(line)}", file=sys.stderr)
    sys.exit(status)
