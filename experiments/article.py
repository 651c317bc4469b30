"""The article's system: train and test folders, its network at 32×32, its three callbacks, its curves.

Reproduces: "Disease Classification using Medical MNIST": 99 % on validation and test. It names neither the numbers of
its callbacks nor its epochs nor its split; ours are in the preset `article`.

Command:  python -m experiments.article medical-mnist.zip FOLDERS --seeds 0-2
Machine:  2 cores of an AMD EPYC (AVX-512), no GPU
Expected: see LOG.md, "The article's system"
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated

import tyro

import medjax
from medjax.config import PRESETS
from medjax.jobs.datasets import split_data


def main(
    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")],
    folders: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDERS")],
    seeds: str = "0-0",
) -> None:
    """Lay DATA out in train and test folders, unless that was done, and train on them once a seed.

    Args:
        data: Folder or archive of Medical MNIST, a folder per class.
        folders: Where the train and test folders are, or shall be.
        seeds: First and last seed, such as 0-2. All train on the same folders.
    """
    if not folders.exists():
        split_data(data, folders, test_share=0.2, config=PRESETS["article"].data, is_quiet=False)
    first, _, last = seeds.partition("-")
    rows = [_run(folders, seed) for seed in range(int(first), int(last or first) + 1)]
    print("seed  errors      n  test accuracy  val accuracy    loss  epochs  best  seconds")
    for row in rows:
        print(
            f"{row['seed']:4}  {row['errors']:6}  {row['n']:5}  {row['accuracy']:13.4%}  {row['val_accuracy']:12.4%}"
            f"  {row['loss']:.4f}  {row['epochs']:6}  {row['best_epoch'] + 1:4}  {row['seconds']:7.0f}"
        )
    print(json.dumps({"runs": rows}))


def _run(folders: Path, seed: int) -> dict[str, float]:
    config = dataclasses.replace(PRESETS["article"], seed=seed)
    started = time.perf_counter()
    run = medjax.train(folders, config, command=f"experiments/article.py {folders.name}", is_quiet=False)
    print(f"{'layer':20} {'kind':18} {'output shape':16} parameters")
    for layer in run.record["model"]["layers"]:
        shape = " × ".join(map(str, layer["output_shape"]))
        print(f"{layer['layer']:20} {layer['kind']:18} {shape:16} {layer['parameters']:10,}")
    test = run.metrics["test"]
    return {
        "seed": seed,
        **{key: test[key] for key in ("errors", "n", "accuracy", "loss")},
        "val_accuracy": run.metrics["val"]["accuracy"],
        **run.metrics["training"],
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    tyro.cli(main)
