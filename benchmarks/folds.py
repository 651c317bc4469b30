"""Strategies for k folds compared: seconds, peak memory, and how far their numbers lie apart.

    python -m benchmarks.folds [--data ZIP] [--folds 2 5 10] [--turns 3] [--devices 2] [--json]
    python -m benchmarks.folds --data ZIP --keras [--epochs 10] [--crossval-turns 1] [--folds …] [--json]

Each case (k, strategy) trains the report's network, augmented, on the same folds, in a process of its own, so that
peak memory is its own; cases take turns and the median turn counts. `devices` has the CPU pose as `--devices` devices.
Compilation is left out of the seconds. The largest difference is between a strategy's parameters after the last step
and those of `loop`.

With `--keras` the report's cross-validation is measured too: 5 folds, without augmentation, a fresh model a fold. Of
medjax it is the whole command `medjax crossval`, from its start to its page, baselines included, with decoded images in the cache;
of Keras the training and scoring of the folds alone, as the report did it (arrays) and through its fastest pipeline. The last line of stdout is one JSON object.
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

from benchmarks.measuring import finish, medians
from benchmarks.peers.client import Peer
from medjax.data.load import load
from medjax.data.splitting.splits import fold_splits
from medjax.models.cnn import CNN
from medjax.training.augment import random_affine
from medjax.training.fit import fit_folds
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from medjax.training.strategies import STRATEGIES


def main(
    data: str = "phantom",
    folds: tuple[int, ...] = (2, 5, 10),
    turns: int = 3,
    devices: int = 2,
    images: int = 3600,
    keras: bool = False,
    epochs: int = 10,
    crossval_turns: int = 1,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        folds: Numbers of folds; none leaves the strategies out.
        turns: Turns of each case; the median counts.
        devices: Devices that the CPU poses as, under the strategy `devices`.
        images: Train on this many images of the data set at most, evenly chosen.
        keras: Also run the report's cross-validation beside Keras.
        epochs: Epochs a fold of that cross-validation.
        crossval_turns: Turns of it; the median counts.
        json: Print the JSON line alone.
    """
    figures: dict[str, Any] = {}
    lines: list[str] = []
    if folds:
        figures |= measure(data, folds, turns, devices, images)
        lines += ["  k  strategy  seconds  images/s  peak MiB  largest difference from loop"]
        lines += [
            f"{row['folds']:3}  {row['strategy']:8}  {row['seconds']:7.2f}  {row['images_per_second']:8,.0f}"
            f"  {row['peak_mebibytes']:8,.0f}  {row['largest_difference']:.1e}"
            for row in figures["rows"]
        ]
    if keras:
        crossval = measure_beside_keras(data, epochs, crossval_turns)
        figures |= crossval
        lines += [f"{name}: {value}" for name, value in crossval.items()]
    finish("folds", figures, lines, json=json)


def measure(data: str, folds: tuple[int, ...], turns: int, devices: int, images: int) -> dict[str, Any]:
    """The table of strategies, and its seconds by strategy and k."""
    load(data)  # into the cache, so that all cases read alike
    cases = list(itertools.product(folds, STRATEGIES))
    results: dict[tuple[int, str], list[dict[str, Any]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(turns):
            for case in cases:
                results[case].append(_measure(case, data, images, devices, Path(folder)))
        rows = [_summarize(case, results[case], Path(folder)) for case in cases]
    return {
        **{f"{row['strategy']}_k{row['folds']}": row["seconds"] for row in rows},
        "rows": rows,
        "turns": turns,
    }


def measure_beside_keras(data: str, epochs: int, turns: int) -> dict[str, Any]:
    """Seconds and errors of a cross-validation by medjax's command, and by Keras in two ways."""
    dataset = load(data)
    splits = fold_splits(dataset, 5)
    seconds: dict[str, list[float]] = {"medjax": [], "keras_arrays": [], "keras_pipeline": []}
    errors: dict[str, list[int]] = {name: [] for name in seconds}
    with tempfile.TemporaryDirectory() as folder, Peer("keras") as keras:
        path = Path(folder) / "data.npz"
        np.savez(
            path, images=dataset.images, labels=dataset.labels, train=splits[0].train, test=splits[0].test
        )
        keras.call("load", path=str(path))
        fold_of_image = np.zeros(len(dataset.labels), int)
        for number, split in enumerate(splits):
            fold_of_image[split.test] = number
        ask = functools.partial(keras.call, "cross_validate", folds=fold_of_image.tolist(), epochs=epochs)
        for _ in range(turns):
            for name in seconds:
                run_dir = Path(tempfile.mkdtemp(dir=folder)) / "run"
                started = time.perf_counter()
                wrong = (
                    _cross_validate(data, epochs, run_dir)
                    if name == "medjax"
                    else ask(way=name.removeprefix("keras_"))
                )
                seconds[name].append(time.perf_counter() - started)
                errors[name].append(wrong)
    median = medians(seconds)
    return {
        **{f"crossval_seconds_{name}": round(each, 2) for name, each in median.items()},
        "ratio_crossval": round(min(median["keras_arrays"], median["keras_pipeline"]) / median["medjax"], 2),
        "ratio_crossval_as_reported": round(median["keras_arrays"] / median["medjax"], 2),
        "errors": errors,
        "of": len(dataset.labels),
        "epochs": epochs,
        "crossval_turns": turns,
    }


def _cross_validate(data: str, epochs: int, run_dir: Path) -> int:
    """`medjax crossval`, the whole command in a process of its own; the errors of all folds."""
    command = ["crossval", data, "--preset", "report", "--epochs", str(epochs), "--no-augment"]
    command += ["--run", str(run_dir)]
    subprocess.run([sys.executable, "-m", "medjax", *command], capture_output=True, check=True)
    metrics = json_module.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    return metrics["pooled"]["errors"]


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
    learner = make_learner(CNN(len(dataset.class_names)), make_adam(1e-3), augment=augment)
    epochs = fit_folds(learner, dataset, splits, num_epochs=2, strategy=strategy)
    next(epochs)
    started = time.perf_counter()
    state, info = next(epochs)
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
