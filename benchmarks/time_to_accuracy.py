"""Seconds from an archive on the disk to a scored model, and how good the model is, over several seeds.

    python -m benchmarks.time_to_accuracy [--data ZIP] [--preset fast] [--seeds 100-109] [--warm-seeds 3] [--keras]

Each seed is the command `medjax train DATA --preset P --seed S --group-duplicates none` (images divided as
the report divided them) in a process of its own, with an empty cache of decoded images (cold); the first few seeds once
more with the one that this left (warm). The clock starts with the process and stops when metrics.json is written, baselines included, in `seconds`,
and when the process ends, after the page, in `ended_seconds`. Both runs of
a seed must end in the same scores, or the benchmark fails. The operating system's own file cache is as it is found.

`--keras` also runs the report's own job once, `benchmarks/peers/keras_report.py`: its images lie extracted in
a folder, which costs it nothing here. The last line of stdout is one JSON object.
"""

import json as json_module
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro

from benchmarks.measuring import finish
from benchmarks.peers.client import PYTHON


def main(
    data: str = "phantom",
    preset: str = "fast",
    seeds: str = "100-109",
    warm_seeds: int = 3,
    epochs: int | None = None,
    keras: bool = False,
    keras_epochs: int = 20,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        preset: Recipe to train by.
        seeds: First and last seed, such as 100-109; each is trained cold.
        warm_seeds: How many of them, from the first on, are trained warm as well; at least 1.
        epochs: Other than the preset's.
        keras: Also run the report's own Keras job once; `data` must be a folder of classes or a .zip of one.
        keras_epochs: Epochs of that job; the report's are 20.
        json: Print the JSON line alone.
    """
    first, _, last = seeds.partition("-")
    options = ["--preset", preset, "--group-duplicates", "none"] + (
        [] if epochs is None else ["--epochs", str(epochs)]
    )
    numbers = range(int(first), int(last or first) + 1)
    rows = [
        _measure_seed(data, seed, options, is_warm=place < warm_seeds) for place, seed in enumerate(numbers)
    ]
    figures = {"data": Path(data).name, "options": " ".join(options), **summarize(rows), "runs": rows}
    if keras:
        figures |= compare(figures, _run_keras(Path(data), keras_epochs))
    finish("time_to_accuracy", figures, _lines(figures), json=json)


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the seconds; mean and sample standard deviation of errors and loss (None of a single seed)."""
    figures: dict[str, Any] = {"n": len(rows), "test_images": rows[0]["n"]}
    for name in ("cold_seconds", "warm_seconds", "cold_ended_seconds", "warm_ended_seconds"):
        figures[name] = round(statistics.median(row[name] for row in rows if name in row), 2)
    for name in ("errors", "loss"):
        values = [row[name] for row in rows]
        figures[f"{name}_mean"] = statistics.fmean(values)
        figures[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    return figures


def compare(figures: dict[str, Any], keras: dict[str, Any]) -> dict[str, Any]:
    """The Keras job's figures beside ours: how many times the seconds of our whole command it took."""
    seconds = sum(keras[f"{part}_seconds"] for part in ("starting", "loading", "training", "evaluating"))
    return {
        **{f"keras_{name}": value for name, value in keras.items()},
        "keras_seconds": round(seconds, 2),
        "ratio_cold": round(seconds / figures["cold_ended_seconds"], 2),
        "ratio_warm": round(seconds / figures["warm_ended_seconds"], 2),
    }


def _measure_seed(data: str, seed: int, options: Sequence[str], *, is_warm: bool) -> dict[str, Any]:
    """One seed, cold and then, if asked for, warm."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold, cold_scores = _train(data, seed, options, folder / "cold", folder / "cache")
        seconds = {"cold": cold}
        if is_warm:
            seconds["warm"], warm_scores = _train(data, seed, options, folder / "warm", folder / "cache")
            if cold_scores != warm_scores:
                raise SystemExit(f"seed {seed}: cold and warm runs ended in different scores")
    test = cold_scores["test"]
    row = {"seed": seed, **{name: test[name] for name in ("n", "errors", "loss")}}
    for kind, each in seconds.items():
        row |= {f"{kind}_{name}": round(value, 2) for name, value in each.items()}
    times = ", ".join(f"{each['ended_seconds']:.1f} s {kind}" for kind, each in seconds.items())
    print(f"seed {seed}: {times}, {row['errors']} errors", file=sys.stderr, flush=True)
    return row


def _train(
    data: str, seed: int, options: Sequence[str], run_dir: Path, cache: Path
) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds to all scores and to the end of the process, and the scores themselves."""
    command = [
        sys.executable,
        "-m",
        "medjax",
        "train",
        data,
        "--run",
        str(run_dir),
        "--seed",
        str(seed),
        *options,
    ]
    started = time.time()
    ended = subprocess.run(
        command, env={**os.environ, "MEDJAX_CACHE_DIR": str(cache)}, capture_output=True, text=True
    )
    until_end = time.time() - started
    if ended.returncode:
        raise SystemExit(ended.stderr)
    path = run_dir / "metrics.json"
    scores = json_module.loads(path.read_text(encoding="utf-8"))
    del scores["seconds"]
    return {"seconds": path.stat().st_mtime - started, "ended_seconds": until_end}, scores


def _run_keras(data: Path, epochs: int) -> dict[str, Any]:
    """What `keras_report` prints."""
    if not PYTHON.exists():
        raise SystemExit("the peers are not installed: run make peers")
    script = Path(__file__).parent / "peers" / "keras_report.py"
    with _extracted(data) as folder:
        started = time.time()
        command = [str(PYTHON), str(script), str(folder), "--epochs", str(epochs), "--started", str(started)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise SystemExit(f"{script.name} ended with status {ended.returncode}; its own words are above")
    return json_module.loads(ended.stdout.splitlines()[-1])


@contextmanager
def _extracted(data: Path) -> Iterator[Path]:
    """The folder of the class folders; of an archive, a temporary one."""
    if data.is_dir():
        yield data
        return
    if not zipfile.is_zipfile(data):
        raise SystemExit(f"{data}: --keras needs a folder of classes or a .zip of one")
    with tempfile.TemporaryDirectory() as name:
        with zipfile.ZipFile(data) as archive:
            archive.extractall(name)
        folder = Path(name)
        while len(inside := [path for path in folder.iterdir() if path.is_dir()]) == 1:
            folder = inside[0]
        yield folder


def _lines(figures: dict[str, Any]) -> list[str]:
    def spread(name: str, digits: int) -> str:
        deviation = figures[f"{name}_sd"]
        mean = f"{figures[f'{name}_mean']:.{digits}f}"
        return mean if deviation is None else f"{mean} ± {deviation:.{digits}f}"

    lines = [
        f"{figures['n']} seeds, {figures['options']}: {figures['cold_ended_seconds']:.1f} s cold,"
        f" {figures['warm_ended_seconds']:.1f} s warm (medians, whole)",
        f"{spread('errors', 1)} errors of {figures['test_images']:,}, loss {spread('loss', 4)} (mean ± sd)",
    ]
    if "keras_seconds" in figures:
        lines.append(
            f"Keras: {figures['keras_seconds']:.1f} s, {figures['keras_errors']} errors, loss"
            f" {figures['keras_loss']:.4f}; {figures['ratio_cold']:.1f} times ours cold,"
            f" {figures['ratio_warm']:.1f} times warm"
        )
    return lines


if __name__ == "__main__":
    tyro.cli(main)
