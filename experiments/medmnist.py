"""Sets of MedMNIST in their official parts, beside the published table; and the published ResNet-18 on the same folds.

Reproduces: Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification", 2023, https://doi.org/10.1038/s41597-022-01721-8, table 3, at 28 pixels. Its AUC is the mean over the
classes of one against all others, as medjax's.

No test image chooses anything. What is tried is scored by cross-validation over train and val (`--develop`), which does
not even read the test images. The test part is scored once, when all is chosen, under five seeds named beforehand, and
LOG.md holds the scores whatever they are. The preset `standard` learns from the official train part alone, is settled by
it and keeps its last epoch, so that its val part decides nothing.

Command:  python -m experiments.medmnist retinamnist.npz --seeds 0-4
          python -m experiments.medmnist retinamnist.npz --develop FOLDER --seeds 0-2 --fits standard
          python -m experiments.medmnist retinamnist.npz --develop FOLDER --seeds 0 --folds 3
Machine:  2 cores of an AMD EPYC (AVX-512), no GPU
Expected: see LOG.md, "RetinaMNIST beside the published table"
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

import medjax
from experiments.medmnist_folds import FITS, cross_validate, mean_line
from medjax.jobs.seeds import parse_seeds


class Row(NamedTuple):
    """A row of the published table: scores of the official test part."""

    method: str
    accuracy: float
    auc: float


# The table as two independent copies of it at least have it; what only one has is left out. The last row of three is the best of AutoML.
PUBLISHED: Mapping[str, Sequence[Row]] = {
    "retinamnist": (
        Row("ResNet-18 (28)", 0.524, 0.717),
        Row("ResNet-50 (28)", 0.528, 0.726),
        Row("Google AutoML Vision", 0.531, 0.750),
    ),
    "pneumoniamnist": (
        Row("ResNet-18 (28)", 0.854, 0.944),
        Row("ResNet-50 (28)", 0.854, 0.948),
        Row("Google AutoML Vision", 0.946, 0.991),
    ),
    "pathmnist": (
        Row("ResNet-18 (28)", 0.907, 0.983),
        Row("ResNet-50 (28)", 0.911, 0.990),
        Row("AutoKeras", 0.834, 0.959),
    ),
    "breastmnist": (Row("ResNet-18 (28)", 0.863, 0.901),),
}


def main(
    data: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE.npz")],
    seeds: str = "0-4",
    develop: Path | None = None,
    fits: tuple[Literal["standard", "resnet18"], ...] = ("standard", "resnet18"),
    folds: tuple[Literal[0, 1, 2, 3, 4], ...] = (0, 1, 2, 3, 4),
) -> None:
    """Score the preset `standard` on the official test parts, once a seed; or cross-validate over train and val.

    Args:
        data: Files of MedMNIST at 28 pixels.
        seeds: Such as 0-4, or 0,3,7.
        develop: Cross-validate, and keep the answers to each fold in this folder; what is there is not trained again.
        fits: What to cross-validate.
        folds: The folds to train. A seed is scored when all of its folds are in the folder.
    """
    results = {}
    for path in data:
        if develop is None:
            results[path.stem] = score_test(path, parse_seeds(seeds))
        else:
            chosen = {name: FITS[name] for name in fits}
            results[path.stem] = cross_validate(path, develop / path.stem, parse_seeds(seeds), chosen, folds)
    print(json.dumps(results))


def score_test(path: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Train the preset `standard` once a seed, score the official test part, and print it beside the published rows."""
    command = f"experiments/medmnist.py {path.name}"
    metrics = medjax.train_seeds(path, seeds=seeds, command=command, is_quiet=False).metrics
    print(f"{path.stem}, {metrics['seeds'][0]['n']} test images")
    for row in metrics["seeds"]:
        print(f"  standard, seed {row['seed']:<11} accuracy {row['accuracy']:.3f}, AUC {row['auc']:.3f}")
    print(f"  {'standard':26}{mean_line(metrics['mean'])}")
    for published in PUBLISHED.get(path.stem, ()):
        print(f"  {published.method:26}accuracy {published.accuracy:.3f}, AUC {published.auc:.3f}")
    return {"seeds": metrics["seeds"], "mean": metrics["mean"]}


if __name__ == "__main__":
    tyro.cli(main)
