"""Strategies for k folds compared: seconds, peak memory, and how far their numbers lie apart.

    python -m benchmarks.folds [--data ZIP] [--folds 2 5 10] [--turns 3] [--devices 2] [--json]

Each case (k, strategy) trains the report's network, augmented, on the same folds, in a process of its own, so that
peak memory is its own; cases take turns and the median turn counts. `devices` has the CPU pose as `--devices` devices.
Compilation is left out of the seconds. The largest difference is between a strategy's parameters after the last step
and those of `loop`. The last line of stdout is one JSON object.
"""

import functools
import itertools
import json as json_module
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from medjax.data import fold_splits, load
from medjax.models import CNN
from medjax.run import describe_environment
from medjax.training.augment import random_affine
from medjax.training.fit import fit
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from medjax.training.strategies import STRATEGIES


def main(
    data: str = "phantom",
    folds: tuple[int, ...] = (2, 5, 10),
    turns: int = 3,
    devices: int = 2,
    images: int = 3600,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        folds: Numbers of folds.
        turns: Turns of each case; the median counts.
        devices: Devices that the CPU poses as, under the strategy `devices`.
        images: Train on this many images of the data set at most, evenly chosen.
        json: Print the JSON line alone.
    """
    load(data)  # into the cache, so that all cases read alike
    cases = list(itertools.product(folds, STRATEGIES))
    results: dict[tuple[int, str], list[dict[str, Any]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(turns):
            for case in cases:
                results[case].append(_measure(case, data, images, devices, Path(folder)))
        rows = [_summarize(case, results[case], Path(folder)) for case in cases]
    if not json:
        print("  k  strategy  seconds  images/s  peak MiB  largest difference from loop")
        for row in rows:
            print(
                f"{row['folds']:3}  {row['strategy']:8}  {row['seconds']:7.2f}  {row['images_per_second']:8,.0f}"
                f"  {row['peak_mebibytes']:8,.0f}  {row['largest_difference']:.1e}"
            )
    print(json_module.dumps({"rows": rows, **describe_environment(jax.devices()[0].device_kind)}))


def _measure(case: tuple[int, str], data: str, images: int, devices: int, folder: Path) -> dict[str, Any]:
    """One turn of one case, in a process of its own."""
    num_folds, strategy = case
    environment = dict(os.environ)
    if strategy == "devices":
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    line = [sys.executable, "-m", "benchmarks.folds", "--one-case"]
    line += [str(num_folds), strategy, data, str(images), str(_state_file(case, folder))]
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return json_module.loads(ended.stdout.splitlines()[-1])


def _summarize(case: tuple[int, str], turns: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    mine, reference = (np.load(_state_file((case[0], name), folder)) for name in (case[1], "loop"))
    seconds = statistics.median(turn["seconds"] for turn in turns)
    return {
        "folds": case[0],
        "strategy": case[1],
        "seconds": round(seconds, 2),
        "images_per_second": round(turns[0]["images"] / seconds),
        "peak_mebibytes": round(statistics.median(turn["peak_mebibytes"] for turn in turns)),
        "largest_difference": float(np.abs(mine - reference).max()),
    }


def _state_file(case: tuple[int, str], folder: Path) -> Path:
    return folder / f"{case[0]}-{case[1]}.npy"


def run_case(num_folds: int, strategy: Any, data: str, images: int, state_file: str) -> None:
    """Train one epoch twice over, time the second, and print seconds, images and peak memory as JSON."""
    dataset = load(data)
    chosen = np.linspace(0, len(dataset.labels) - 1, min(images, len(dataset.labels))).astype(int)
    splits = fold_splits(dataset, num_folds, pool=np.unique(chosen))
    augment = functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1)
    learner = make_learner(CNN(len(dataset.class_names)), make_adam(1e-3), augment)
    epochs = fit(learner, dataset.images, dataset.labels, splits, num_epochs=2, strategy=strategy)
    next(epochs)
    started = time.perf_counter()
    _, state, info = next(epochs)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(state.learner.parameters)]
    np.save(state_file, np.concatenate(leaves))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"seconds": seconds, "images": int(info.train.num_images.sum()), "peak_mebibytes": peak}
    print(json_module.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one-case"]:
        run_case(int(sys.argv[2]), *sys.argv[3:5], int(sys.argv[5]), sys.argv[6])
    else:
        tyro.cli(main)
