"""The commands, each a dataclass: a field is an option or a positional argument, its docstring the help.

An option without a `Setting` is a common one, which `--help` shows.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from medjax.config import CrossvalConfig, DataConfig, ReadingConfig, TrainConfig
from medjax.settings import setting


@dataclasses.dataclass(frozen=True)
class _Fitting:
    """What train, crossval and sweep share."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder with a folder per class, or with train/ and test/ or val/ of such; a .zip or .tar(.gz|.xz) of
    either; a MedMNIST .npz; or phantom, the built-in synthetic data set."""
    run: Path | None = setting(None, "general", is_common=True, metavar="DIR")
    """New directory. Default: runs/<data>-<preset>-<number>."""
    seeds: str | None = setting(None, "general", is_common=True, metavar="SEEDS")
    """Once for each seed, as 0-4 or 0,3,7; mean and range."""
    on: str | None = setting(None, "general", metavar="WHERE")
    """Folds and seeds by several processes: local:2, ray, slurm."""
    threads_per_fit: int | None = setting(None, "general", metavar="N")
    """Threads of XLA in each process of --on; the same number gives the same bits on any machine of one kind."""
    resume: bool = False
    """Continue the run in --run, to the same bits."""
    compilation_cache: bool = setting(False, "general")
    """Keep compiled programs on disk for a quicker next start."""
    json: bool = False
    """Print metrics.json as one line, the last of stdout."""


@dataclasses.dataclass(frozen=True)
class _Training(_Fitting):
    """What train and crossval share."""

    allow_version_change: bool = setting(False, "general")
    """Resume under other library versions than before; the results may differ."""
    compare_grouping: bool = setting(False, "general")
    """Repeat the run with duplicates grouped the other way and report both scores."""


@dataclasses.dataclass(frozen=True)
class Train(_Training):
    """Train on one part of DATA, score on the rest, write a report."""

    config: tyro.conf.OmitArgPrefixes[TrainConfig] = dataclasses.field(default_factory=TrainConfig)


@dataclasses.dataclass(frozen=True)
class Crossval(_Training):
    """Score each image of DATA by a model that was not trained on it.

    Trains one model per fold. Parts that the data fix are pooled, unless --keep-test.
    """

    config: tyro.conf.OmitArgPrefixes[CrossvalConfig] = dataclasses.field(default_factory=CrossvalConfig)


@dataclasses.dataclass(frozen=True)
class Sweep(_Fitting):
    """Train each combination of settings, choose one, score it on test.

    The val part decides; of the others nothing is scored on test.
    """

    grid: tuple[str, ...] = setting((), "general", is_common=True, metavar="NAME=V,V")
    """Values of a setting, as learning_rate=1e-3,3e-4. Repeatable: each combination is trained."""
    choose_by: Literal["loss", "balanced_accuracy", "auc"] = setting("loss", "general")
    """Score of the val part, its mean over the seeds."""
    config: tyro.conf.OmitArgPrefixes[TrainConfig] = dataclasses.field(default_factory=TrainConfig)


@dataclasses.dataclass(frozen=True)
class _Restoring:
    """What evaluate, predict and explain share."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory that `medjax train` or `medjax crossval` made."""
    model: str | None = setting(None, "network", is_common=True, metavar="NAME")
    """Network of a run trained with your own: package.module:name or file.py:name."""
    model_set: tuple[str, ...] = setting((), "network", is_common=True, metavar="KEY=VALUE")
    """A setting of that network, as in training. Repeatable."""
    compilation_cache: bool = setting(False, "general")
    """Keep compiled programs on disk for a quicker next start."""
    reading: tyro.conf.OmitArgPrefixes[ReadingConfig] = dataclasses.field(default_factory=ReadingConfig)


@dataclasses.dataclass(frozen=True)
class Evaluate(_Restoring):
    """Score the model of RUN again, on its own data or on other DATA."""

    data: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[DATA]")] = None
    """Images from elsewhere: all are scored, classes matched by name, images that the run was trained on
    separately. Or the new location of the run's own data."""
    split: Literal["train", "val", "test"] = "test"
    """Part of the run's own data to score."""
    fold: int | None = setting(None, "general", is_common=True, metavar="K")
    """Score only this fold's model, on its out-of-fold images. Default: all folds."""
    json: bool = False
    """Print {part: metrics} as one line, the last of stdout."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare two runs on the test images that both were scored on.

    Out-of-fold images count as test images.
    """

    first: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FIRST")]
    """Directory that `medjax train` or `medjax crossval` made."""
    second: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SECOND")]
    """Another one; differences are SECOND minus FIRST."""
    positive: str | None = setting(None, "evaluation", is_common=True, metavar="CLASS")
    """AUC and sensitivity of this class. Default: means over the classes."""
    specificity: float = setting(0.9, "evaluation", is_common=True)
    """Compare sensitivities where the specificity is at least this."""
    json: bool = False
    """Print the comparison as one line, the last of stdout."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(_Restoring):
    """Print class probabilities of unlabeled images as CSV.

    Columns: id, predicted, and p_<class> for each class; of several labels predicted names all, joined by |. For a
    cross-validation, p_<class> is the mean over the models of all folds, and sd_<class> their standard deviation. Then, of a
    run with --positive, decision: positive or negative; with --coverage, set: names of classes joined by |, or nothing. Then
    outside_training_range: names of statistics (color, mean, spread, sharpness) of an image that no training image comes
    near; its answer means little.
    """

    images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGES")]
    """Image files, folders and archives of images."""
    coverage: float | None = setting(None, "evaluation", is_common=True, metavar="SHARE")
    """Add the column set: classes, joined by |, that hold the true one for this share of images, of a run with --coverage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explain(_Restoring):
    """Show which parts of images moved the answers of RUN.

    Writes each image, and the image with a map over it, as PNG files into --out, with arrays (maps.npz), a table
    (explanations.csv) and a page (index.html). A map is no proof.
    """

    images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGES")]
    """Image files, folders and archives of images."""
    out: Path = setting(Path("explained"), "general", is_common=True, metavar="DIR")
    """New or empty directory."""
    method: Literal["grad-cam", "integrated-gradients", "gradient"] | None = setting(
        None, "general", is_common=True
    )
    """How maps are made. Default: grad-cam, or integrated-gradients for a network without a module features."""
    class_name: str | None = setting(None, "general", is_common=True, metavar="CLASS")
    """Explain the probability of this class. Default: of the predicted one."""
    layer: str | None = setting(None, "network", metavar="PATH")
    """Layer that grad-cam looks at, such as features/block_0. Default: features."""
    steps: int = setting(32, "general")
    """Of integrated-gradients, 1 to 10,000: more make the sum of a map more exact."""


@dataclasses.dataclass(frozen=True)
class Audit:
    """Count the duplicates in DATA, and those on both sides of a split."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """As for train; parts that the data fix are audited as they are."""
    out: Path | None = setting(None, "general", is_common=True, metavar="DIR")
    """New directory for audit.json, near_duplicates.csv and a picture of the largest groups. Default: none."""
    seed: int = 0
    """Audit the split that `medjax train` would draw with this seed."""
    json: bool = False
    """Print the findings as one line, the last of stdout."""
    config: tyro.conf.OmitArgPrefixes[DataConfig] = dataclasses.field(default_factory=DataConfig)


@dataclasses.dataclass(frozen=True)
class Split:
    """Copy the images of DATA into OUT/train and OUT/test, by class."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder with a folder per class, or a .zip or .tar(.gz|.xz) of one. It is only read."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """New or empty directory."""
    test: float = 0.2
    """Fraction of each class's images that goes to test."""
    seed: int = 0
    """Determines which images go to test."""
    config: tyro.conf.OmitArgPrefixes[DataConfig] = dataclasses.field(default_factory=DataConfig)


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Download a published data set and verify its checksum."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """medical-mnist, or a set of MedMNIST such as retinamnist."""
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[DIRECTORY]")] = Path("data")
    """Where to put the file."""


Command = Train | Crossval | Sweep | Evaluate | Compare | Predict | Explain | Audit | Split | Fetch
