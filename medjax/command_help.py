"""The text of `medjax --help`, `medjax COMMAND --help` and `--help-all`, from the declarations of the settings."""

import argparse
import dataclasses
import difflib
import functools
import inspect
import itertools
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import docstring_parser
import tyro

from medjax.commands import Command
from medjax.errors import Problem, RefusedError, refuse
from medjax.settings import Heading, Setting, flag_of, kinds_of


class _Formatter(argparse.HelpFormatter):
    """Breaks no line inside a flag."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False)


class _Option(NamedTuple):
    """An option of a command, or a positional argument."""

    name: str  # of its field
    kind: Any
    is_positional: bool
    meaning: str
    default: Any
    setting: Setting


def describe_commands(commands: Iterable[Command]) -> str:
    """The text of `medjax --help`: a line for each command, and where to begin."""
    parser = _parser(
        "medjax",
        "COMMAND ...",
        "Train and honestly evaluate small medical-image classifiers.",
        "Begin with `medjax train phantom`, which trains on built-in synthetic images. "
        "`medjax COMMAND --help` shows the common options of a command, `--help-all` all of them.",
    )
    group = parser.add_argument_group("commands")
    for command in commands:
        summary = _description(command).partition("\n")[0]
        group.add_argument(name_of(type(command)), help=summary.replace("%", "%%"))
    return parser.format_help()


def describe_command(command: Command, *, is_complete: bool) -> str:
    """The text of `medjax COMMAND --help`, or of `--help-all` if `is_complete`.

    `command` is an instance whose values are shown as the defaults; those of required arguments are `tyro.MISSING`.
    """
    options = list(_options(command))
    positionals = [option for option in options if option.is_positional]
    flags = [option for option in options if not option.is_positional]
    shown = [option for option in flags if is_complete or option.setting.is_common]
    name = f"medjax {name_of(type(command))}"
    more = "" if len(shown) == len(flags) else f"{name} --help-all shows all options."
    usage = " ".join(["[options]", *map(_placeholder, positionals)])
    parser = _parser(name, usage, _description(command), more)
    _add(parser, "arguments", positionals)
    if not is_complete:
        _add(parser, "common options" if more else "options", shown)
    else:
        for heading in get_args(Heading):
            _add(parser, f"{heading} options", [each for each in shown if each.setting.heading == heading])
    return parser.format_help()


def refuse_unknown(command: Command, unknown: Sequence[str]) -> RefusedError:
    """The refusal of arguments that a command does not take, with the option that each may have meant."""
    name = name_of(type(command))
    known = [flag_of(option.name) for option in _options(command) if not option.is_positional]
    wrong = [word.partition("=")[0] for word in unknown if word.startswith("-")]
    if not wrong:  # with one, the other words are its value
        return RefusedError(
            Problem(word, "is one argument too many", f"see medjax {name} --help") for word in unknown
        )
    return RefusedError(
        Problem(
            word,
            f"is not an option of medjax {name}",
            f"did you mean {flag}?" if (flag := _similar(word, known)) else f"see medjax {name} --help-all",
        )
        for word in wrong
    )


def unknown_flags(command: Command, words: Sequence[str]) -> list[str]:
    """The words that look like options of a command and are none; those after `--` are no options."""
    known = {"-h", "--help", "--help-all"}
    for option in _options(command):
        if not option.is_positional:
            flag = flag_of(option.name)
            known |= {flag, f"--no-{flag[2:]}"} if option.kind is bool else {flag}
    options = itertools.takewhile(lambda word: word != "--", words)
    named = [word.partition("=")[0] for word in options if word[:1] == "-" and word.strip("-")[:1].isalpha()]
    return [word for word in named if word.replace("_", "-") not in known]


def refuse_usage(box: str, arguments: Sequence[str], commands: Iterable[Command]) -> RefusedError:
    """The refusal, in one line, of what tyro explains in a `box` of several."""
    named = [name for each in commands if [name := name_of(type(each))] == arguments[:1]]
    lines = [line.strip("│").rstrip() for line in box.splitlines() if line.startswith("│")]
    reason = itertools.takewhile(lambda line: not line.strip().startswith("─"), lines)
    # Deeper lines are the help of an argument that is missing.
    text = " ".join(line.strip() for line in reason if not line.startswith(" " * 9))
    return refuse(
        " ".join(["medjax", *named]), text.rstrip("."), f"see {' '.join(['medjax', *named])} --help"
    )


def name_of(command: type) -> str:
    """The name of a command on the command line."""
    return command.__name__.lower()


def _similar(word: str, known: Sequence[str]) -> str | None:
    """The known flag that `word` abbreviates by initials (--lr) or is spelled most like."""
    names = [flag.removeprefix("--") for flag in known]
    name = word.lstrip("-").replace("_", "-")
    initials = [each for each in names if "".join(part[0] for part in each.split("-")) == name]
    similar = initials or difflib.get_close_matches(name, names, n=1)
    return f"--{similar[0]}" if similar else None


def _options(command: Any) -> Iterator[_Option]:
    """The options of a command or a configuration in the order of their fields, nested ones included."""
    owner = type(command)
    meanings = {
        each.arg_name: each.description or ""
        for base in reversed(owner.__mro__[:-1])
        for each in docstring_parser.parse_from_object(base).params
    }
    kinds, marked = kinds_of(owner), get_type_hints(owner, include_extras=True)
    for each in dataclasses.fields(owner):
        value = getattr(command, each.name)
        if dataclasses.is_dataclass(kinds[each.name]):
            yield from _options(value)
            continue
        is_positional = tyro.conf.Positional in get_args(marked[each.name])
        setting = each.metadata.get("setting", Setting("general", is_common=True))
        yield _Option(each.name, kinds[each.name], is_positional, meanings.get(each.name, ""), value, setting)


def _description(command: Command) -> str:
    return inspect.getdoc(type(command)) or ""


def _parser(name: str, usage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that only formats help; tyro parses."""
    return argparse.ArgumentParser(
        name,
        usage=f"{name} {usage}",
        description=description.replace("%", "%%"),
        epilog=epilog,
        add_help=False,
        formatter_class=functools.partial(_Formatter, width=shutil.get_terminal_size().columns),
    )


def _add(parser: argparse.ArgumentParser, title: str, options: Iterable[_Option]) -> None:
    group = parser.add_argument_group(title)
    for option in options:
        text = f"{option.meaning} {_default(option)}".strip().replace("%", "%%")
        flag = flag_of(option.name)
        if option.is_positional:
            group.add_argument(option.name, metavar=_placeholder(option), help=text)
        elif option.kind is bool and option.default:
            group.add_argument(flag, f"--no-{flag[2:]}", action="store_true", help=text)
        elif option.kind is bool:
            group.add_argument(flag, action="store_true", help=text)
        else:
            group.add_argument(flag, metavar=_placeholder(option), help=text)


def _placeholder(option: _Option) -> str:
    """What stands for the value of an option in the help."""
    if option.is_positional:
        name = option.name.upper()
        return name if option.default is tyro.MISSING else f"[{name}]"
    if option.setting.metavar is not None:
        return option.setting.metavar
    kind = next((each for each in get_args(option.kind) if NoneType in get_args(option.kind)), option.kind)
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_origin(kind) is tuple:
        return f"{get_args(kind)[0].__name__.upper()} ..."
    return kind.__name__.upper()


def _default(option: _Option) -> str:
    """The default in brackets; nothing for what is off, missing or empty."""
    value = option.default
    if value is None and option.setting.is_settled:
        return "(default: by data)"
    if value is tyro.MISSING or value is None or value is False or value == ():
        return ""
    if value is True:
        return "(default: yes)"
    return f"(default: {' '.join(map(str, value)) if isinstance(value, tuple) else value})"
