"""A worker: a process that does one fit after the other, as described in JSON files.

`python -m medjax.scale.worker FILE…` does these. Without a file their paths come on stdin, one a line; for each a line is
written on stdout when it is over, however it ended, and where stdin ends during a fit, the worker stops as by SIGTERM: whoever
asked is gone. Images and compiled programs are kept from one fit to the next.

What a fit needs is in its description, but for a network of the user's own: --model says which may be imported. What it
answers is its run directory; a file beside the description says why there is none.
"""

import argparse
import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from medjax import process
from medjax.data.load import fingerprint
from medjax.errors import DivergedError, RefusedError, refusal_of, refuse
from medjax.jobs.compilation_cache import use_compilation_cache
from medjax.jobs.datasets import read_dataset
from medjax.jobs.from_config import training_of
from medjax.jobs.pipeline import Request, run_job
from medjax.jobs.run_record import describe_versions
from medjax.jobs.sharing import sharing
from medjax.problem_list import lines_of
from medjax.progress import Display
from medjax.scale.answers import Answer, forget_answer, write_answer
from medjax.scale.description import Description, read_description
from medjax.training.threads import VARIABLE, count_threads


def main(arguments: Sequence[str] | None = None) -> None:
    """Do all fits; the exit status is 0, or that of the last one that was refused (2) or diverged (3)."""
    parser = argparse.ArgumentParser("python -m medjax.scale.worker", allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--model", help="network of the user's own that descriptions may name")
    parser.add_argument("--compilation-cache", action="store_true", help="keep compiled programs on disk")
    options = parser.parse_args(arguments)
    try:
        process.begin()
        if options.compilation_cache:
            use_compilation_cache()
        with sharing():
            sys.exit(_do_all(options.files, options.model))
    except KeyboardInterrupt:
        process.end_if_stopped(128 + signal.SIGINT)
    except SystemExit as error:
        process.end_if_stopped(error.code)
        raise


def do_fit(path: Path, model: str | None = None) -> int:
    """Do one fit, or continue it, and return its exit status. `model` names the user's network, if it may be imported."""
    forget_answer(path)
    try:
        description = read_description(path)
        _require_same_worker(description, model)
        _require_same_images(description)
        request = Request(
            description.source,
            None,
            description.directory,
            True,
            False,
            description.command,
            scoring=description.scoring,
            fold_runs=[path.parent / each for each in description.fold_runs],
        )
        run_job(description.config, request, is_quiet=False)
    except DivergedError as error:
        write_answer(path, Answer("diverged", message=str(error)))
        return process.DIVERGED
    except RefusedError as error:
        return _refused(path, error)
    except (OSError, MemoryError, RuntimeError) as error:
        if (refusal := refusal_of(error)) is None:
            raise
        return _refused(path, refusal)
    return 0


def _refused(path: Path, error: RefusedError) -> int:
    print(*lines_of(error), sep="\n", file=sys.stderr)
    write_answer(path, Answer("refused", problems=error.problems))
    return process.REFUSED


def _require_same_worker(description: Description, model: str | None) -> None:
    """RefusedError unless this process computes what was asked for: with those threads, versions and that network."""
    threads = count_threads()
    if threads != description.threads:
        reason = f"this process computes with {threads} threads, not {description.threads}"
        raise refuse(description.path, reason, f"start it with {VARIABLE}={description.threads}")
    found = describe_versions()
    for name, version in description.versions.items():
        if found.get(name) != version:
            reason = f"{name} is {found.get(name)} here, and {version} where it was asked for"
            raise refuse(description.path, reason, "install the same versions everywhere")
    own = description.own_model
    if own is not None and own != model:
        reason = f"names the network {own}, which this process was not told to import"
        raise refuse(description.path, reason, f"start it with --model {own}, if it is yours")


def _require_same_images(description: Description) -> None:
    """RefusedError where the images at the path, on this machine, are not those that were meant."""
    with Display(is_quiet=True) as display:
        dataset = read_dataset(description.source, training_of(description.config).data, display)
    if fingerprint(dataset) != description.fingerprint:
        reason = "holds other images on this machine: their fingerprint is not the one that was asked for"
        raise refuse(description.source, reason, "put the same data there on every machine")


def _do_all(files: Sequence[Path], model: str | None) -> int:
    if files:
        return max([do_fit(path, model) for path in files])
    with _own_stdout() as answers:
        for path, is_over in _asked_for():
            do_fit(path, model)
            is_over()
            answers.write("over\n")
            answers.flush()
    return 0


@contextlib.contextmanager
def _own_stdout() -> Iterator:
    """The stream of stdout; what anything else prints, a network of the user's own say, goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        os.dup2(2, 1)
        yield stream


def _asked_for() -> Iterator:
    """Paths from stdin, each with a function to say that its fit is over."""
    paths: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()

    def listen() -> None:
        with open(0, encoding="utf-8", closefd=False) as lines:
            for line in lines:
                paths.put(line.rstrip("\n"))
        paths.put(None)
        if busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while (path := paths.get()) is not None:
        busy.set()
        yield Path(path), busy.clear


if __name__ == "__main__":
    main()
