"""Errors, and how a refusal reads: file, reason and remedy on one line."""

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

LINES_SHOWN = 20
"""Of a refusal with many problems."""
_SHOWN_WITH_A_REASON = 3
_AMOUNT = re.compile(r"allocat(?:e|ing) ([0-9][0-9,]*(?:\.[0-9]+)?) ?(bytes|[KMGTPE]iB)")


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

    def lines(self, limit: int = LINES_SHOWN) -> list[str]:
        """One line for each problem; of more than `limit`, the first few with each reason, then how many there are."""
        if len(self.problems) <= limit:
            return [str(problem) for problem in self.problems]
        by_reason: dict[str, list[Problem]] = {}
        for problem in self.problems:
            by_reason.setdefault(problem.reason, []).append(problem)
        shown = [
            str(problem) for problems in by_reason.values() for problem in problems[:_SHOWN_WITH_A_REASON]
        ]
        return [*shown[:limit], f"… {len(self.problems):,} problems in all"]


class DivergedError(ArithmeticError):
    """The training loss is no longer finite; the last finite checkpoint is kept (exit status 3)."""


def refuse(name: object, reason: str, remedy: str) -> RefusedError:
    """A `RefusedError` with one problem, to be raised."""
    return RefusedError(Problem(str(name), reason, remedy))


def refusal_of(error: Exception) -> RefusedError | None:
    """The refusal that an error of the machine, its files or its memory, amounts to; None for any other error."""
    if isinstance(error, OSError):
        reason = f"cannot be read or written ({error.strerror or error})"
        return refuse(
            error.filename or "a file", reason, "see to its permissions and to the room on its disk"
        )
    lacking = _lack_of_memory(error)
    if lacking is None:
        return None
    return refuse("memory", lacking, "use a machine with more of it, or fewer or smaller images")


@contextlib.contextmanager
def refusing_memory(name: str, remedy: str) -> Iterator[None]:
    """Make a lack of memory, of this machine or of an accelerator, a RefusedError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = _lack_of_memory(error)
        if reason is None:
            raise
        raise refuse(name, reason, remedy) from error


def _lack_of_memory(error: Exception) -> str | None:
    """What did not fit, if that is what went wrong: JAX has no error class of its own for it."""
    text = str(error)
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in text:
        return None
    found = _AMOUNT.search(text)
    if found is None:
        return "does not fit into memory"
    amount, unit = found.groups()
    size = f"{int(amount) / 2**30:,.1f} GiB" if unit == "bytes" else f"{amount} {unit}"
    return f"does not fit into memory: {size} cannot be had at once"


def described(error: BaseException) -> str:
    """An exception in one line: its type, and what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")


def printable(text: str) -> str:
    """`text` with control characters and unpaired surrogates escaped, safe to show in a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def command_line(words: Iterable[str]) -> str:
    """The words as a command that can be shown and pasted: quoted for a shell, no character in it commands a terminal."""
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # $'…' of POSIX.1-2024, bash and zsh: bytes in octal. A lone low surrogate is a byte of a name that is no UTF-8.
    escaped = (
        character
        if character.isprintable() and character not in "\\'"
        else "".join(f"\\{byte:03o}" for byte in _encode(character))
        for character in word
    )
    return f"$'{''.join(escaped)}'"


def _encode(character: str) -> bytes:
    return character.encode(errors="surrogateescape" if "\udc80" <= character <= "\udcff" else "replace")


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold `text`: it has no unpaired surrogates, as names of files that are no UTF-8 have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def counted(n: int, noun: str) -> str:
    """The number and its noun: "1 error", "2,520 errors", "3 classes"."""
    ending = "" if n == 1 else "es" if noun.endswith("s") else "s"
    return f"{n:,} {noun}{ending}"


def listed(names: Sequence[str], limit: int = 5) -> str:
    """`names` separated by commas, at most `limit`, then the number of the others."""
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
