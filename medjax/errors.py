"""What medjax refuses, and how a refusal reads: the file, the reason and the remedy, on one line."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong with one file, option or run."""

    name: str  # what it is about: a file's id, a path, an option
    reason: str  # what is wrong with it, with the value that was seen
    remedy: str  # what to do about it, or the limit that was passed

    def __str__(self) -> str:
        return f"{printable(self.name)}: {printable(self.reason)} ({printable(self.remedy)})"


class RefusedError(ValueError):
    """Input or usage that medjax will not work with; lists every problem found, not only the first.

    The command line prints one line a problem and ends with status 2.
    """

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(self.lines()))

    def lines(self, limit: int = 20) -> list[str]:
        """One line a problem, at most `limit` of them, then how many more there are."""
        lines = [str(problem) for problem in self.problems[:limit]]
        if len(self.problems) > limit:
            lines.append(f"… and {len(self.problems) - limit} more")
        return lines


class DivergedError(ArithmeticError):
    """Training met a loss that is not finite; the last finite checkpoint has been kept (status 3)."""


def refuse(name: object, reason: str, remedy: str) -> RefusedError:
    """A `RefusedError` with a single problem, to be raised."""
    return RefusedError(Problem(str(name), reason, remedy))


def printable(text: str) -> str:
    """`text` with control and unpaired-surrogate characters escaped, so that a terminal shows it harmlessly."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def listed(names: Sequence[str], limit: int = 5) -> str:
    """`names` as words separated by commas, at most `limit` of them, then how many more."""
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
