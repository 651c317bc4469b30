"""Errors, and how a refusal reads: file, reason and remedy on one line."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """One problem with a file, option or run."""

    name: str  # of the file, path or option
    reason: str  # what is wrong, with the value that was found
    remedy: str  # what to do, or the limit

    def __str__(self) -> str:
        return f"{printable(self.name)}: {printable(self.reason)} ({printable(self.remedy)})"


class RefusedError(ValueError):
    """Input or usage that medjax refuses, with all problems found.

    The command line prints one line for each problem and exits with status 2.
    """

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(self.lines()))

    def lines(self, limit: int = 20) -> list[str]:
        """One line for each problem, at most `limit`, then the number of the others."""
        lines = [str(problem) for problem in self.problems[:limit]]
        if len(self.problems) > limit:
            lines.append(f"… and {len(self.problems) - limit} more")
        return lines


class DivergedError(ArithmeticError):
    """The training loss is no longer finite; the last finite checkpoint is kept (exit status 3)."""


def refuse(name: object, reason: str, remedy: str) -> RefusedError:
    """A `RefusedError` with one problem, to be raised."""
    return RefusedError(Problem(str(name), reason, remedy))


def described(error: BaseException) -> str:
    """An exception in one line: its type, and what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")


def printable(text: str) -> str:
    """`text` with control characters and unpaired surrogates escaped, safe to show in a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def counted(n: int, noun: str) -> str:
    """The number and its noun: "1 error", "2,520 errors", "3 classes"."""
    ending = "" if n == 1 else "es" if noun.endswith("s") else "s"
    return f"{n:,} {noun}{ending}"


def listed(names: Sequence[str], limit: int = 5) -> str:
    """`names` separated by commas, at most `limit`, then the number of the others."""
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
