"""Declare a setting once: default, unit, range and preconditions on its field, its meaning in the docstring below.

The command line, its help, the checks of a configuration and the report page read them from there.
"""

import contextlib
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional, TypeVar

Heading = Literal[
    "general",
    "cross-validation",
    "data",
    "network",
    "optimization",
    "augmentation",
    "early stopping",
    "plateau",
    "evaluation",
]
"""What settings are grouped under, in the order of `--help-all` and of the report page."""

T = TypeVar("T")
if TYPE_CHECKING:
    # Jobs run on settled configurations alone, so whoever reads a setting reads a plain value.
    Settled = Annotated[T, "may be None until the preset `standard` has settled it"]
else:
    Settled = Optional


@dataclass(frozen=True)
class Setting:
    """What the field of a setting declares beside its default. A range holds for each number of a tuple."""

    heading: Heading
    is_common: bool = False
    """Shown by `--help`; the others only by `--help-all`."""
    metavar: str | None = None
    """Placeholder of the value in the help; None derives it from the type."""
    unit: str = ""
    """Written after the value on the report page."""
    at_least: int | float = -math.inf
    above: int | float = -math.inf
    at_most: int | float = math.inf
    below: int | float = math.inf
    is_ascending: bool = False
    """Whether each number of a tuple must be larger than the one before."""
    needs: tuple[Any, ...] = ()
    """Name of another setting, then its values under which this one has an effect: without any, all but None. A tuple of
    names stands for any of them. () always has an effect."""
    is_settled: bool = False
    """Whether None leaves it to the preset `standard`, which settles it by the training images."""
    is_added: bool = False
    """Whether run.json may lack it: such a run is older than the setting, and was trained as with its default."""

    def has_effect(self, values: Mapping[str, Any]) -> bool:
        """Whether this setting has an effect beside the values of the others, by their names."""
        effective = self.needs[1:]
        known = [values[name] for name in self.needed if name in values]
        return not known or any(value in effective if effective else value is not None for value in known)

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of the settings of which this one needs any."""
        names = self.needs[:1]
        return names[0] if names and isinstance(names[0], tuple) else names

    def is_in_range(self, number: int | float) -> bool:
        """Whether a number is finite and within the bounds."""
        return self.at_least <= number <= self.at_most and self.above < number < self.below

    @property
    def limits(self) -> str:
        """The range in words: "1 to 9999", "more than 0", "a finite number"."""
        low, high = f"{self.at_least:.12g}", f"{self.at_most:.12g}"
        if math.isfinite(self.above):
            low = f"more than {self.above:.12g}"
        if math.isfinite(self.below):
            high = f"less than {self.below:.12g}"
        if high == "inf":
            return "a finite number" if low == "-inf" else low if " " in low else f"at least {low}"
        return f"{low} to {high}"


def setting(default: T, heading: Heading, **declaration: Any) -> T:
    """A dataclass field that carries a `Setting`; the keywords are those of `Setting`."""
    return field(default=default, metadata={"setting": Setting(heading, **declaration)})


def settled(heading: Heading, **declaration: Any) -> Any:
    """A `setting` that the preset `standard` settles by the training images, unless it is given."""
    return setting(None, heading, is_settled=True, **declaration)


class Configuration:
    """Base of the dataclasses of settings: NumPy values, lists and paths become the plain values that JSON keeps."""

    def __post_init__(self) -> None:
        kinds = kinds_of(type(self))
        for name, value in vars(self).items():
            object.__setattr__(self, name, _plain(value, kinds[name]))


C = TypeVar("C", bound=Any)


class Entry(NamedTuple):
    """One setting of a configuration, with the value that it has there."""

    name: str
    kind: Any  # its type, without Annotated
    setting: Setting | None
    value: Any


def entries(config: Any) -> Iterator[Entry]:
    """The settings of a dataclass instance in the order of its fields, those of nested dataclasses included."""
    kinds = kinds_of(type(config))
    for each in fields(config):
        value, kind = getattr(config, each.name), kinds[each.name]
        if isinstance(value, Configuration) and type(value) is kind:
            yield from entries(value)
        else:
            yield Entry(each.name, kind, each.metadata.get("setting"), value)


def unsettled(config: Any) -> list[str]:
    """Names of the settings that are left to the preset `standard`, of those that have an effect."""
    found = list(entries(config))
    values = {entry.name: entry.value for entry in found}
    return [
        entry.name
        for entry in found
        if entry.value is None
        and entry.setting is not None
        and entry.setting.is_settled
        and entry.setting.has_effect(values)
    ]


def with_values(config: C, values: Mapping[str, Any]) -> C:
    """The configuration with these settings, by name, wherever they are nested."""
    changed: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if isinstance(value, Configuration):
            changed[each.name] = with_values(value, values)
        elif each.name in values:
            changed[each.name] = values[each.name]
    return replace(config, **changed)


def kinds_of(owner: type) -> dict[str, Any]:
    """The types of a dataclass's fields, without Annotated."""
    return typing.get_type_hints(owner)


def _plain(value: Any, kind: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy and JAX
        value = value.tolist()
    if hasattr(value, "__fspath__"):
        return str(value)
    if isinstance(value, list | tuple):
        element_kind = (*typing.get_args(kind), None)[0]  # the elements of a setting are of one type
        return tuple(_plain(element, element_kind) for element in value)
    if type(value) is int and float in (kind, *typing.get_args(kind)):
        with contextlib.suppress(OverflowError):  # left as it is, for `require_valid` to refuse
            return float(value)
    return value


def flag_of(name: str) -> str:
    """The command-line flag of a setting: `--batch-size` of `batch_size`."""
    return "--" + name.replace("_", "-")


def flags_for(config: Any, defaults: Any) -> list[str]:
    """The words of a command line that turn `defaults` into `config`, both of one type; not yet quoted for a shell."""
    known = {entry.name: entry.value for entry in entries(defaults)}
    words: list[str] = []
    for entry in entries(config):
        if entry.value != known[entry.name]:
            words += _flag_words(entry)
    return words


def _flag_words(entry: Entry) -> list[str]:
    flag, value = flag_of(entry.name), entry.value
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if typing.get_args(entry.kind) == (str, ...):
        return [word for each in value for word in _with_value(flag, each)]  # repeated for each
    if isinstance(value, tuple):
        return [flag, *map(str, value)]
    return _with_value(flag, str(value))


def _with_value(flag: str, value: str) -> list[str]:
    # A value that begins with a hyphen would be taken for an option.
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]
