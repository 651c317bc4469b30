"""What duplicates are worth: the report's network under random, exact-grouped and near-grouped folds; and a planted leak.

`folds` cross-validates the preset `report` three times on the same images: divided at random as the report did, with
identical images kept together, and with nearly identical ones (single link within a class) kept together as well.
The difference of the rows is what a score owes to copies of test images in train; beside each, the errors of the nearest
neighbour among the pixels, which knows nothing but copies. Intervals are Wilson's, over groups where there are any.

`planted` shows that the grouping does what it says, where the answer is known: drawings under labels drawn by lot,
every one four times under its one label. Nothing can be learnt but the copies, so ungrouped folds score far above
chance and grouped ones at chance.

Command:  python -m experiments.leakage folds medical-mnist.zip --seeds 0-0
          python -m experiments.leakage planted --seeds 0-4
Machine:  2 cores of an AMD EPYC (AVX-512), no GPU
Expected: see LOG.md, "What duplicates are worth" and "A planted leak"
"""

import dataclasses
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image

import medjax
from medjax.config import CROSSVAL_PRESETS, CrossvalConfig, TrainConfig
from medjax.data.phantom.dataset import make_phantom

KINDS = ("none", "exact", "near")
COPIES = 4


def compare_folds(
    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")],
    seeds: str = "0-0",
    folds: int = 5,
    near_threshold: float = 2.0,
    epochs: int = CROSSVAL_PRESETS["report"].epochs,
) -> None:
    """Cross-validate the report's system under each kind of grouping, once a seed.

    Args:
        data: Folder or archive of Medical MNIST, or the word phantom.
        seeds: First and last seed, such as 0-1.
        folds: Number of folds.
        near_threshold: Gray levels that nearly identical images are at most apart.
        epochs: Passes over the training images of a fold.
    """
    rows = []
    for seed in _numbers(seeds):
        training = dataclasses.replace(CROSSVAL_PRESETS["report"], seed=seed, epochs=epochs)
        training = dataclasses.replace(
            training, data=dataclasses.replace(training.data, near_threshold=near_threshold)
        )
        rows += [_row(data, kind, CrossvalConfig(folds=folds, training=training)) for kind in KINDS]
    print(
        "seed  grouping  groups   errors of      n  accuracy (95% interval)        loss  twin in train   1-NN"
    )
    print(
        "                                                                              same    nearly  errors"
    )
    for row in rows:
        low, high = row["accuracy_ci95_grouped"] or row["accuracy_ci95"]
        print(
            f"{row['seed']:4}  {row['grouping']:8}  {row['groups']:6,}  {row['errors']:6,}  {row['n']:6,}  "
            f"{row['accuracy']:.3%} ({low:.3%} to {high:.3%})  {row['loss']:.4f}  {row['exact']:4,}  {row['near']:8,}  "
            f"{row['neighbour_errors']:6,}"
        )
    print(json.dumps({"runs": rows}))


def plant_leak(
    seeds: str = "0-4", distinct: int = 240, folds: int = 5, epochs: int = 20
) -> list[dict[str, Any]]:
    """Cross-validate drawings under random labels, four of each, without and with identical images kept together.

    Args:
        seeds: First and last seed, such as 0-4: they draw images, labels, folds and first weights.
        distinct: Different images, half of them of each class.
        folds: Number of folds.
        epochs: Passes over the training images of a fold.
    """
    # The report's network, to learn by heart what it is given.
    training = dataclasses.replace(CROSSVAL_PRESETS["report"], epochs=epochs, dropout=0.0, augment=False)
    rows = []
    with tempfile.TemporaryDirectory(prefix="medjax-planted-") as folder:
        for seed in _numbers(seeds):
            data = _write_planted(Path(folder) / f"planted-{seed}.zip", distinct, seed)
            config = CrossvalConfig(folds=folds, training=dataclasses.replace(training, seed=seed))
            each = {
                kind: _row(str(data), kind, config, Path(folder) / f"{kind}-{seed}")
                for kind in ("none", "exact")
            }
            sd = 0.5 / distinct**0.5
            rows.append(
                {
                    "seed": seed,
                    "ungrouped": each["none"]["accuracy"],
                    "grouped": each["exact"]["accuracy"],
                    "grouped_sds_from_chance": (each["exact"]["accuracy"] - 0.5) / sd,
                    "twins_ungrouped": each["none"]["exact"],
                    "twins_grouped": each["exact"]["exact"],
                }
            )
    print(f"chance 50 % ± {sd:.1%} (sd over {distinct} distinct images), {COPIES} copies of each")
    print("seed  ungrouped  grouped  (sd from chance)")
    for row in rows:
        print(
            f"{row['seed']:4}  {row['ungrouped']:9.1%}  {row['grouped']:7.1%}  {row['grouped_sds_from_chance']:+16.1f}"
        )
    print(json.dumps({"runs": rows}))
    return rows


def _row(data: str, kind: str, config: CrossvalConfig, run_dir: Path | None = None) -> dict[str, Any]:
    """The pooled score of a cross-validation that keeps that kind of duplicates together."""
    training: TrainConfig = config.training
    training = dataclasses.replace(training, data=dataclasses.replace(training.data, group_duplicates=kind))
    config = dataclasses.replace(config, training=training)
    command = f"experiments/leakage.py {Path(data).name} {kind}"
    run = medjax.cross_validate(data, config, run_dir=run_dir, command=command, is_quiet=run_dir is not None)
    pooled, twins = run.metrics["pooled"], run.record["data"]["leakage"]["test"]
    groups = run.record["data"]["groups"]
    return {
        "seed": training.seed,
        "grouping": kind,
        "groups": groups["n"] if groups else pooled["n"],
        **{name: pooled[name] for name in ("errors", "n", "accuracy", "accuracy_ci95", "loss")},
        "accuracy_ci95_grouped": pooled["accuracy_ci95_grouped"],
        "neighbour_errors": run.metrics["baselines"]["models"]["nearest_neighbour"]["errors"],
        "exact": twins["exact"],
        "near": twins["near"],
    }


def _write_planted(path: Path, distinct: int, seed: int) -> Path:
    """A zip of drawings in two folders by lot, every one `COPIES` times in its one folder."""
    generator = np.random.default_rng(seed)
    drawings = make_phantom(seed=seed, images_per_class=-(-distinct // 6)).images
    labels = generator.permutation(np.arange(distinct) % 2)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (index, label) in enumerate(
            zip(generator.permutation(len(drawings))[:distinct], labels, strict=True)
        ):
            buffer = io.BytesIO()
            Image.fromarray(drawings[index][..., 0]).save(buffer, "PNG")
            for copy in range(COPIES):
                archive.writestr(f"{'ab'[label]}/{number:04}-{copy}.png", buffer.getvalue())
    return path


def _numbers(seeds: str) -> range:
    first, _, last = seeds.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"folds": compare_folds, "planted": plant_leak})
