"""A run that dies where it is told to: `python -m tests.doomed POINT NUMBER ARGUMENTS…` is `medjax ARGUMENTS…`.

The process kills itself (SIGKILL: no handler, no clean-up) when it comes to a named point for the given time, counting
from 1. Every epoch is saved, and training waits for it, so that a short run comes to every point in a known order.
"""

import os
import shutil
import signal
import sys

from orbax.checkpoint import v1 as orbax

from medjax import cli
from medjax.jobs import pipeline
from medjax.jobs import score_folds as scoring
from medjax.report.page import page
from medjax.runs import checkpoint_series


def kill_before(module, name, is_meant=lambda *arguments: True, *, after=False):
    """Let `module.name` kill the process before (or after) the call that is due."""
    original = getattr(module, name)

    def doomed(*arguments, **options):
        is_due = is_meant(*arguments) and count_down()
        if is_due and not after:
            die()
        result = original(*arguments, **options)
        if is_due:
            die()
        return result

    setattr(module, name, doomed)


def count_down():
    """Whether this is the call that is due."""
    global remaining
    remaining -= 1
    return remaining == 0


def die():
    """End at once."""
    print("killed where asked", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def is_manifest(path, *_):
    """Whether a rename is that of a checkpoint's manifest."""
    return name_of(path).startswith("epoch_")


def name_of(path):
    """The last part of a path, or of a name in an open folder."""
    return os.path.basename(os.fspath(path))


POINTS = {
    "before save": lambda: kill_before(checkpoint_series, "save_checkpoint"),
    "arrays written": lambda: kill_before(orbax, "save_checkpointables", after=True),
    "while arrays are written": lambda: kill_before(
        os, "rename", lambda source, *_: "orbax-checkpoint-tmp" in os.fspath(source)
    ),
    "manifest written": lambda: kill_before(os, "replace", is_manifest),
    "manifest renamed": lambda: kill_before(os, "replace", is_manifest, after=True),
    "delete of the old one": lambda: kill_before(
        shutil, "rmtree", lambda path, **_: "epoch_" in os.fspath(path)
    ),
    "end of a fold": lambda: kill_before(scoring, "predict", after=True),
    "history half written": lambda: kill_before(os, "replace", lambda path, *_: "history" in name_of(path)),
    "metrics half written": lambda: kill_before(os, "replace", lambda path, *_: "metrics" in name_of(path)),
    "report half written": lambda: kill_before(os, "replace", lambda path, *_: "report" in name_of(path)),
    "figures half drawn": lambda: kill_before(page, "read_history"),
    "before the last word": lambda: kill_before(pipeline, "draw_report", after=True),
}


def save_every_epoch():
    """Let training wait for each save."""
    offer = checkpoint_series.CheckpointWriter.offer

    def offer_and_wait(self, *arguments):
        offer(self, *arguments)
        self.flush()

    checkpoint_series.CheckpointWriter.offer = offer_and_wait


if __name__ == "__main__":
    point, number, *rest = sys.argv[1:]
    remaining = int(number)
    save_every_epoch()
    POINTS[point]()
    cli.main(rest)
