"""A sweep: several configurations under several seeds, one of them chosen by validation parts and then scored on test.

Nothing is computed of a test part before the choice: until then, runs score their val parts alone. Of the configurations
that are not chosen nothing is ever computed of it.
"""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medjax.config import TrainConfig
from medjax.csv_text import write_csv
from medjax.errors import DivergedError, refuse
from medjax.evaluation.seed_scores import summarize_seeds
from medjax.jobs.pretrained import with_stem_of_weights
from medjax.jobs.restored_run import Run, load_run
from medjax.jobs.resume import locked
from medjax.jobs.run_record import describe_versions
from medjax.jobs.seeds import describe_run_of_seed, require_seeds
from medjax.jobs.sharing import sharing
from medjax.progress import Display
from medjax.records import Dataset
from medjax.runs import directory as run_files
from medjax.scale.choice import keep_choice, kept_choice
from medjax.scale.choose_engine import choose_engine
from medjax.scale.description import Description
from medjax.scale.do_fits import FitSet, do_fits, prepare
from medjax.scale.engine import Workers
from medjax.scale.grid import make_configurations
from medjax.scale.many_fits import (
    SettledFit,
    fits_folder,
    open_directory,
    settle_fit,
    tell_engine,
    telling_how_to_continue,
)

ChosenBy = Literal["loss", "balanced_accuracy", "auc"]
_SCORES: tuple[ChosenBy, ...] = ("loss", "balanced_accuracy", "auc")
_DEFAULT = TrainConfig()


class Sweep(NamedTuple):
    """What a sweep found."""

    directory: Path  # holds the runs, metrics.json, sweep.csv and report.html
    metrics: dict[str, Any]  # metrics.json (see `describe_sweep`)
    runs: tuple[Run, ...]  # of the chosen configuration, one for each seed


class _Trained(NamedTuple):
    """A configuration, and its fit under each seed."""

    values: dict[str, Any]  # of the grid
    fits: tuple[Description, ...]


def sweep(
    data: str | Path | Dataset,
    grid: Mapping[str, Sequence[Any]],
    config: TrainConfig = _DEFAULT,
    *,
    seeds: Sequence[int] = (0,),
    choose_by: ChosenBy = "loss",
    on: str = "local",
    threads_per_fit: int | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    compilation_cache: bool = False,
    command: str = "medjax.sweep",
    is_quiet: bool = True,
) -> Sweep:
    """Train every combination of the grid's values, choose one by validation parts alone, and score that one on test.

    `grid` gives values of settings by their names, {"learning_rate": [1e-3, 3e-4]}; the others are those of `config`. Each
    combination is trained once for each seed, on the same parts as the others with that seed, and the one whose mean
    `choose_by` over the seeds' val parts is best is chosen; of equal ones the first. One that diverged under any seed is none to choose. The other
    arguments are those of `fit_many`; a sweep is continued with the grid and the seeds that it was begun with.

    RefusedError before anything is written; DivergedError if no configuration is left to choose.
    """
    started = time.perf_counter()
    require_seeds(seeds)
    _require_part_of_sets(config)
    choice = choose_engine(on, threads_per_fit)
    combinations = make_configurations(config, grid)
    with Display(is_quiet=is_quiet) as display, sharing(), contextlib.ExitStack() as stack:
        asked = [_with_seed(each, seed) for _, each in combinations for seed in seeds]
        # What is read is said once.
        displays = [display, *[Display(is_quiet=True)] * (len(asked) - 1)]
        found = [settle_fit(data, each, shown) for each, shown in zip(asked, displays, strict=True)]
        settled = [found[first : first + len(seeds)] for first in range(0, len(found), len(seeds))]
        name = f"{run_files.file_name(settled[0][0].name)}-{config.preset}-sweep"
        directory, is_continued = open_directory(run_dir, name, resume=resume)
        folder = fits_folder(directory)
        stack.enter_context(locked(folder))
        trained = [
            _Trained(values, _describe_fits(folder, number, seeds, each, choice.threads, command))
            for number, ((values, _), each) in enumerate(zip(combinations, settled, strict=True))
        ]
        fits = [fit for each in trained for fit in each.fits]
        if is_continued:
            _require_same_sweep(folder, fits)
        kept = kept_choice(folder, choose_by, len(trained))
        stack.enter_context(telling_how_to_continue(command, directory, display))
        prepare(fits, is_continued=is_continued)
        workers = Workers(folder, choice.threads, fits[0].own_model, compilation_cache)
        with choice.make(workers) as engine:
            tell_engine(choice, folder, display)
            do_fits(FitSet(fits, "fits"), engine, display)
            if kept is None:
                kept = [_describe_scores(each) for each in trained]
                keep_choice(folder, choose_by, kept)
            configurations = [
                {"values": _as_json(each.values), **scores}
                for each, scores in zip(trained, kept, strict=True)
            ]
            number = choose(configurations, choose_by)
            chosen = [
                dataclasses.replace(fit, path=folder / f"chosen-{fit.directory.name}.json", scoring="all")
                for fit in trained[number].fits
            ]
            prepare(chosen, is_continued=is_continued)
            display.say(f"configuration {number} is chosen; it alone is scored on test")
            do_fits(FitSet(chosen, "runs"), engine, display)
        runs = tuple(load_run(each.directory) for each in chosen)
        metrics = describe_sweep(grid, configurations, number, choose_by, runs)
        metrics["seconds"] = {"total": time.perf_counter() - started}
        _write(directory, metrics)
    return Sweep(directory, metrics, runs)


def choose(configurations: Sequence[Mapping[str, Any]], choose_by: ChosenBy) -> int:
    """The number of the configuration whose mean val score is best, of equal ones the first.

    DivergedError if none has the score under every seed.
    """
    scores = {
        number: each["mean"][choose_by]
        for number, each in enumerate(configurations)
        if each["mean"] is not None and each["mean"][choose_by] is not None
    }
    if not scores:
        raise DivergedError(
            f"no configuration has a {choose_by.replace('_', ' ')} of its val part under every seed: nothing is chosen"
        )
    best = min if choose_by == "loss" else max
    return best(scores, key=lambda number: scores[number])


def describe_sweep(
    grid: Mapping[str, Sequence[Any]],
    configurations: Sequence[Mapping[str, Any]],
    chosen: int,
    choose_by: ChosenBy,
    runs: Sequence[Run],
) -> dict[str, Any]:
    """metrics.json of a sweep, but for the seconds.

    Keys: job ("sweep"); name of the data; is_synthetic; preset; grid; choose_by; configurations, each with its values, a row
    of val scores for each seed, their mean (None if one diverged) and the seeds that diverged; chosen, the number of one;
    test, its scores on test for each seed, and their mean and spread.
    """
    rows = [describe_run_of_seed(run) for run in runs]
    data = runs[0].record["data"]
    return {
        "job": "sweep",
        "name": data["name"],
        "is_synthetic": data["is_synthetic"],
        "preset": runs[0].record["config"]["preset"],
        "grid": {name: list(values) for name, values in grid.items()},
        "choose_by": choose_by,
        "configurations": list(configurations),
        "chosen": chosen,
        "test": {"seeds": rows, "mean": summarize_seeds(rows)},
    }


def _require_part_of_sets(config: TrainConfig) -> None:
    """RefusedError where the val part would set the thresholds of prediction sets: it chooses the configuration too."""
    if config.coverage is not None and not config.conformal_share:
        reason = "would set thresholds by the val part, which chooses the configuration: sets would promise nothing"
        raise refuse("--coverage", reason, "give them a part of their own: --conformal-share 0.1")


def _with_seed(config: TrainConfig, seed: int) -> TrainConfig:
    return with_stem_of_weights(dataclasses.replace(config, seed=seed))


def _describe_fits(
    folder: Path,
    number: int,
    seeds: Sequence[int],
    settled: Sequence[SettledFit],
    threads: int,
    command: str,
) -> tuple[Description, ...]:
    """A configuration under each seed, trained and scored on the val part alone."""
    names = [f"seed_{seed:04d}" for seed in seeds]
    return tuple(
        Description(
            folder / f"config_{number:03d}-{name}.json",
            each.source,
            each.fingerprint,
            each.config,
            f"../config_{number:03d}/{name}",
            (),
            "val",
            threads,
            describe_versions(),
            command,
        )
        for name, each in zip(names, settled, strict=True)
    )


def _require_same_sweep(folder: Path, fits: Sequence[Description]) -> None:
    """RefusedError unless these are the fits that a sweep was begun with: with others, another one might be chosen."""
    there = {path.name for path in folder.glob("config_*.json") if not path.name.endswith(".answer.json")}
    if there and there != {fit.path.name for fit in fits}:
        reason = "was begun with another number of configurations, or other seeds"
        raise refuse(folder.parent, reason, "repeat what began it, or choose another --run")


def _describe_scores(trained: _Trained) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    diverged = []
    for fit in trained.fits:
        run = load_run(fit.directory)
        if run.record["status"] == "diverged":
            diverged.append(run.record["seed"])
            continue
        metrics = run.metrics
        rows.append(
            {
                "seed": run.record["seed"],
                "directory": f"{fit.directory.parent.name}/{fit.directory.name}",
                "n": metrics["val"]["n"],
                **{str(name): metrics["val"].get(name) for name in _SCORES},
                "epochs": metrics["training"]["epochs"],
            }
        )
    mean = None if diverged else {str(name): _mean([row[name] for row in rows]) for name in _SCORES}
    return {"val": rows, "mean": mean, "diverged": diverged}


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [*value] if isinstance(value, tuple) else value for name, value in values.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _write(directory: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json, the table and the page."""
    # Imported here: training needs no templates.
    from medjax.report.page.sweep import render_sweep

    run_files.write_json(directory / "metrics.json", metrics, root=directory)
    run_files.write_text(directory / "sweep.csv", write_csv(_rows(metrics)), root=directory)
    run_files.write_text(directory / "report.html", render_sweep(metrics), root=directory)


def _rows(metrics: Mapping[str, Any]) -> list[list[Any]]:
    """sweep.csv: a row for each configuration and seed; test scores of the chosen one alone."""
    names, tested = [*metrics["grid"]], ("n", "errors", "accuracy", "auc", "loss")
    header = [
        "configuration",
        *names,
        "seed",
        "chosen",
        "epochs",
        "val_n",
        *(f"val_{name}" for name in _SCORES),
    ]
    rows: list[list[Any]] = [[*header, *(f"test_{name}" for name in tested)]]
    test = {row["seed"]: row for row in metrics["test"]["seeds"]}
    for number, each in enumerate(metrics["configurations"]):
        values = [" ".join(map(str, v)) if isinstance(v, list) else v for v in each["values"].values()]
        is_chosen = number == metrics["chosen"]
        for row in each["val"]:
            scores = [row["epochs"], row["n"], *(row[name] for name in _SCORES)]
            of_test = [test[row["seed"]][name] if is_chosen else "" for name in tested]
            cells = [number, *values, row["seed"], "yes" if is_chosen else "no", *scores, *of_test]
            rows.append(["" if cell is None else cell for cell in cells])
        rows += [[number, *values, seed, "no", "diverged"] for seed in each["diverged"]]
    width = len(rows[0])
    return [[*row, *[""] * (width - len(row))] for row in rows]
