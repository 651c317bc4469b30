"""Have fits done: ask an engine for those that are not finished, look at what came of it, and ask again."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medjax.errors import Problem, RefusedError, counted
from medjax.progress import Display
from medjax.scale.answers import read_answer
from medjax.scale.description import Description, read_description, require_same_fit, write_description
from medjax.scale.engine import Engine
from medjax.scale.finished import is_finished, require_finished

ATTEMPTS = 3
"""How often a fit is tried, each time from its last checkpoint, before its failure is thought to be its own."""


class FitSet(NamedTuple):
    """Fits that do not wait for one another."""

    fits: Sequence[Description]
    noun: str  # what they are, in the plural


def prepare(fits: Sequence[Description], *, is_continued: bool) -> None:
    """Write the descriptions; where fits are continued, RefusedError unless those that are there say the same."""
    for fit in fits:
        if is_continued and fit.path.exists():
            require_same_fit(read_description(fit.path), fit)
        else:
            write_description(fit)


def do_fits(asked: FitSet, engine: Engine, display: Display) -> None:
    """Return when the run directories of all fits verify.

    RefusedError where a worker refused one, or where one was not finished after several attempts.
    """
    left = [fit for fit in asked.fits if not is_finished(fit)]
    if len(left) < len(asked.fits):
        display.say(f"{len(asked.fits) - len(left)} of {len(asked.fits)} {asked.noun} are finished already")
    for attempt in range(ATTEMPTS):
        if not left:
            return
        if attempt:
            display.say(f"{counted(len(left), 'fit')} did not end well: again, from the last checkpoints")
        _ask(left, engine, display)
        left = [fit for fit in left if not is_finished(fit)]
        for fit in left:
            answer = read_answer(fit.path)
            if answer is not None and answer.problems:
                raise RefusedError(answer.problems)
    if left:
        raise RefusedError(_why_not(fit) for fit in left)


def _why_not(fit: Description) -> Problem:
    remedy = f"see the logs in {fit.path.parent}, then continue with --resume"
    try:
        require_finished(fit)
    except RefusedError as error:
        return error.problems[0]._replace(remedy=remedy)
    except OSError as error:
        return Problem(str(fit.directory), f"cannot be read ({error.strerror})", remedy)
    return Problem(str(fit.directory), "was not finished in time", remedy)


def _ask(fits: Sequence[Description], engine: Engine, display: Display) -> None:
    started, names, over = time.perf_counter(), {fit.path: fit.path.stem for fit in fits}, []

    def tell(path: Path) -> None:
        over.append(path)
        seconds = time.perf_counter() - started
        display.say(f"{names[path]} is over ({len(over)} of {len(fits)}, after {seconds:.1f} s)")

    engine.run([fit.path for fit in fits], tell)
