"""How seconds and peak memory grow with the images, their size, the batch and the number of folds: slopes, not points.

    python -m benchmarks.scaling [--data ZIP] [--axes images image_size batch_size folds] [--images 10000]
        [--turns 3] [--json]

A turn is one epoch of the report's recipe with all that goes with it: fingerprint, splits, the transfer to the device,
shuffling, training, validation, predictions of all parts, scores and predictions.csv. Loading is a column of its own.
More images are the source's images over again under other ids. Every point is worked on in a process of its own; the
points of an axis take turns, after one turn that compiles and does not count, and the median turn counts. Peak memory
is what the operating system counts for the process up to the end of that first turn (`getrusage`, `ru_maxrss`): with
the interpreter, the libraries, loading and compilation.

A slope is the exponent of a power law: the least-squares line through the logarithms, with its standard error. Where
something constant is hidden in the seconds it comes out too small, so `n_last_exponent`, between the two largest
points, stands beside it. The last line of stdout is one JSON object.
"""

import contextlib
import functools
import math
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from scipy.stats import linregress

from benchmarks.measuring import finish, medians, take_turns
from medjax.config import CROSSVAL_PRESETS, PRESETS, CrossvalConfig, DataConfig
from medjax.data.load import fingerprint, load
from medjax.jobs.from_config import Config, make_fold_learner, make_network, make_splits, training_of
from medjax.jobs.score_folds import score_folds
from medjax.jobs.train_folds import TrainedFolds
from medjax.records import Dataset
from medjax.runs.directory import write_predictions
from medjax.training.fit import fit_folds
from medjax.training.fold_plan import make_plan
from medjax.training.folds import Controls, FoldState
from medjax.training.learner import Learner
from medjax.training.programs import compile_init

AxisName = Literal["images", "image_size", "batch_size", "folds"]


class Point(NamedTuple):
    """What is measured: the report's holdout, but for what differs."""

    copies: int = 1  # of the source's images
    image_size: int = 28  # side in pixels
    batch_size: int = 32
    folds: int = 0  # of a cross-validation; 0 is a holdout


AXES: dict[AxisName, list[Point]] = {
    "images": [Point(copies=copies) for copies in (1, 2, 5, 10)],
    "image_size": [Point(image_size=side) for side in (28, 32, 64)],
    "batch_size": [Point(batch_size=size) for size in (16, 32, 64, 128, 256)],
    "folds": [Point(folds=folds) for folds in (2, 5, 10)],
}
PREFIXES: dict[AxisName, str] = {"images": "n", "image_size": "size", "batch_size": "batch", "folds": "k"}


def main(
    data: str = "phantom",
    axes: tuple[AxisName, ...] = tuple(AXES),
    images: int = 10_000,
    turns: int = 3,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        axes: What to vary.
        images: Take this many of its images at most, evenly chosen, as the holdout that the points vary.
        turns: Turns of each point; the median counts.
        json: Print the JSON line alone.
    """
    if data != "phantom":
        _fill_cache(data, {point.image_size for axis in axes for point in AXES[axis]})
    with contextlib.closing(_Worker(data, images, Point())) as holdout:  # a point of most axes
        tables = {axis: _measure(data, images, axis, holdout, turns) for axis in axes}
    slopes: dict[str, float] = {}
    for axis, rows in tables.items():
        slopes |= describe_slopes(PREFIXES[axis], rows)
    lines = [line for axis, rows in tables.items() for line in _lines(axis, rows, slopes)]
    finish("scaling", {**slopes, "tables": tables, "data": Path(data).name, "turns": turns}, lines, json=json)


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The exponent p of values ≈ c · sizes^p and its standard error, by least squares on the logarithms.

    All numbers are above 0, and there are at least three.
    """
    line = linregress(np.log(sizes), np.log(values))
    return float(line.slope), float(line.stderr)


def describe_slopes(prefix: str, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Exponents of seconds and of peak memory over an axis, with standard errors, and what an image takes of memory."""
    sizes, seconds, memory = ([row[name] for row in rows] for name in ("work", "seconds", "peak_mebibytes"))
    exponent, deviation = fit_exponent(sizes, seconds)
    memory_exponent, memory_deviation = fit_exponent(sizes, memory)
    slopes = {
        f"{prefix}_exponent": round(exponent, 3),
        f"{prefix}_exponent_sd": round(deviation, 3),
        f"{prefix}_memory_exponent": round(memory_exponent, 3),
        f"{prefix}_memory_exponent_sd": round(memory_deviation, 3),
    }
    if prefix == "n":
        slopes["n_last_exponent"] = round(
            math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2]), 3
        )
        slopes["n_kibibytes_an_image"] = round(linregress(sizes, memory).slope * 1024, 2)
    return slopes


def _measure(data: str, at_most: int, axis: AxisName, holdout: "_Worker", turns: int) -> list[dict[str, Any]]:
    """A row for each point of an axis."""
    with contextlib.ExitStack() as stack:
        workers = {Point(): holdout}
        for point in AXES[axis]:  # one after the other, so that none loads while another does
            if point not in workers:
                workers[point] = stack.enter_context(contextlib.closing(_Worker(data, at_most, point)))
        cases = {str(point): workers[point].turn for point in AXES[axis]}
        seconds = medians(take_turns(cases, turns))
    return [_describe(axis, point, workers[point], seconds[str(point)]) for point in AXES[axis]]


def _describe(axis: AxisName, point: Point, worker: "_Worker", seconds: float) -> dict[str, Any]:
    """A row of the table of an axis; `work` is what the slope is fitted against.

    k folds train on k − 1 times the images, so that is their work.
    """
    value = worker.facts["images"] if axis == "images" else getattr(point, axis)
    return {
        axis: value,
        "work": value - 1 if axis == "folds" else value,
        "seconds": round(seconds, 3),
        "images_per_second": round(worker.facts["trained"] / seconds),
        "loading_seconds": round(worker.facts["loading_seconds"], 3),
        "peak_mebibytes": round(worker.peaks[0]),
    }


class _Worker:
    """A process that has one point loaded, and works on it when asked."""

    def __init__(self, data: str, at_most: int, point: Point) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, data, at_most, point), daemon=True)
        self._process.start()
        other.close()
        self.facts: dict[str, Any] = self._connection.recv()
        self.peaks: list[float] = []  # MiB, after each turn

    def turn(self) -> float:
        """Seconds of a turn."""
        self._connection.send("turn")
        seconds, peak = self._connection.recv()
        self.peaks.append(peak)
        return seconds

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()


def _work(connection: Connection, data: str, at_most: int, point: Point) -> None:
    """The process's side: load, tell, and take a turn for each message until there are no more."""
    job, facts = make_job(data, at_most, point)
    connection.send(facts)
    with contextlib.suppress(EOFError):
        while connection.recv():
            started = time.perf_counter()
            job()
            connection.send((time.perf_counter() - started, peak_mebibytes()))


def make_job(data: str, at_most: int, point: Point) -> tuple[Callable[[], None], dict[str, Any]]:
    """One epoch and its scores as a function, and what was loaded for it."""
    config = _configure(point)
    training = training_of(config)
    started = time.perf_counter()
    source = load(data, training.data)
    loading = time.perf_counter() - started
    dataset = repeat(source, point.copies, at_most)
    splits = make_splits(config, dataset)
    network = make_network(training, None, dataset.class_names, dataset.images.shape[1:])
    learner = make_fold_learner(training, network, splits)
    facts = {
        "images": len(dataset.labels),
        "trained": sum(len(split.train) for split in splits),
        "loading_seconds": loading,
    }
    # Fresh parameters are made once: `fit` would compile what makes them again in each turn.
    plan = make_plan(splits, seed=0, batch_size=point.batch_size)
    state = compile_init(learner, dataset.images.shape, Controls(), False)(plan.key)
    return functools.partial(_run, config, dataset, learner, state), facts


def _configure(point: Point) -> Config:
    preset = CROSSVAL_PRESETS["report"] if point.folds else PRESETS["report"]
    settings = replace(preset.data, image_size=point.image_size)
    training = replace(preset, epochs=1, batch_size=point.batch_size, data=settings)
    if not point.folds:
        return training
    return CrossvalConfig(folds=point.folds, fold_strategy="loop", training=training)


def repeat(dataset: Dataset, copies: int, at_most: int) -> Dataset:
    """`at_most` of the images, evenly chosen, `copies` times over, each under an id of its own."""
    n = len(dataset.labels)
    chosen = np.tile(np.linspace(0, n - 1, min(at_most, n)).astype(int), copies)
    names = ("images", "labels", "ids", "digests", "split", "groups")
    arrays = {name: array[chosen] for name in names if (array := getattr(dataset, name)) is not None}
    copy = np.repeat(np.arange(copies), len(chosen) // copies).astype(str)
    arrays["ids"] = np.char.add(np.char.add(arrays["ids"], " copy "), copy)
    return dataset._replace(**arrays)


def _run(config: Config, dataset: Dataset, learner: Learner, state: FoldState) -> None:
    """What a job does between loading and drawing, but for the checkpoint, which does not grow with the images."""
    fingerprint(dataset)
    splits = make_splits(config, dataset)
    arrays = jax.device_put((dataset.images, dataset.labels))
    training = training_of(config)
    ((state, _),) = fit_folds(
        learner, arrays, splits, num_epochs=1, batch_size=training.batch_size, state=state
    )
    scores = score_folds(config, dataset, arrays, splits, TrainedFolds(learner, state, [], 0.0))
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(Path(folder) / "predictions.csv", dataset, scores.parts)


def peak_mebibytes() -> float:
    """The largest memory that this process has had resident so far.

    Linux begins the count of a new process at what its parent had: a parent must stay smaller than its children.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _fill_cache(data: str, image_sizes: Set[int]) -> None:
    """Load into the cache, so that all points load alike; in a process whose memory does not count as this one's."""
    for image_size in image_sizes:
        loading = multiprocessing.get_context("spawn").Process(
            target=load, args=(data, DataConfig(image_size=image_size))
        )
        loading.start()
        loading.join()
        if loading.exitcode:
            raise SystemExit(loading.exitcode)


def _lines(axis: AxisName, rows: Sequence[dict[str, Any]], slopes: dict[str, float]) -> list[str]:
    prefix = PREFIXES[axis]
    slope, deviation = (slopes[f"{prefix}_{name}"] for name in ("exponent", "exponent_sd"))
    return [
        f"{axis:>10}  seconds  images/s  loading s  peak MiB",
        *(
            f"{row[axis]:10,}  {row['seconds']:7.2f}  {row['images_per_second']:8,}"
            f"  {row['loading_seconds']:9.2f}  {row['peak_mebibytes']:8,}"
            for row in rows
        ),
        f"           seconds grow as the power {slope:.3f} ± {deviation:.3f}",
    ]


if __name__ == "__main__":
    tyro.cli(main)
