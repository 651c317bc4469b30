"""The commands, each a dataclass: what they take, with the help that a person reads."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from medjax.config import PRESETS, CrossvalConfig, DataConfig, TrainConfig

CompilationCache = Annotated[bool, tyro.conf.arg(help="Keep compiled programs, for a quick next start.")]


@dataclasses.dataclass(frozen=True)
class Train:
    """Train on a part of DATA, score the model on the rest, and report all of it."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder with a folder per class, or with train/ and test/ (and val/) of such; a .zip or .tar(.gz|.xz) of
    either; a MedMNIST .npz; or the word phantom, the built-in synthetic data set."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """New directory for everything the run leaves. Default: runs/<data>-<preset>-<number>."""
    resume: bool = False
    """Continue the run in --run, exactly, from its last checkpoint; a finished one is left as it is."""
    allow_version_change: bool = False
    """Continue under other versions than the run began with, though not exactly."""
    compare_grouping: bool = False
    """Then repeat it in RUN/other_grouping with duplicates grouped the other way, and show both scores."""
    compilation_cache: CompilationCache = False
    json: bool = False
    """Print metrics.json as one line, the last of stdout."""
    config: tyro.conf.OmitArgPrefixes[TrainConfig] = dataclasses.field(default_factory=TrainConfig)


@dataclasses.dataclass(frozen=True)
class Crossval:
    """Cross-validate: score every image of DATA by a model that was not trained on it."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """As for train; parts that the data fix are pooled, unless --keep-test."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """New directory for everything the run leaves. Default: runs/<data>-<preset>-<number>."""
    resume: bool = False
    """Continue the run in --run, exactly, from its last checkpoints; a finished one is left as it is."""
    allow_version_change: bool = False
    """Continue under other versions than the run began with, though not exactly."""
    compare_grouping: bool = False
    """Then repeat it in RUN/other_grouping with duplicates grouped the other way, and show both scores."""
    compilation_cache: CompilationCache = False
    json: bool = False
    """Print metrics.json as one line, the last of stdout."""
    config: tyro.conf.OmitArgPrefixes[CrossvalConfig] = dataclasses.field(default_factory=CrossvalConfig)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Restore the model of RUN and score it again on the run's own data, or on DATA from elsewhere."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory that `medjax train` or `medjax crossval` made."""
    data: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[DATA]")] = None
    """Images from elsewhere: all are scored, classes matched by name, those that the run was trained on apart. Or the
    place where the run's own data lie now."""
    split: Literal["train", "val", "test"] = "test"
    """Part to score."""
    fold: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Of a cross-validation, score the model of this fold, on its out-of-fold images. Default: all folds."""
    compilation_cache: CompilationCache = False
    json: bool = False
    """Print {part: metrics} as one line, the last of stdout."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare two runs on the test (or out-of-fold) images that both were scored on."""

    first: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory that `medjax train` or `medjax crossval` made."""
    second: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Another; differences are this one less the first."""
    json: bool = False
    """Print the comparison as one line, the last of stdout."""


@dataclasses.dataclass(frozen=True)
class Predict:
    """Print class probabilities of unlabelled images as CSV: id, predicted, p_<class>, …

    The models of a cross-validation answer together: p_<class> is the mean over them, sd_<class> their spread.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory that `medjax train` or `medjax crossval` made."""
    images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGES")]
    """Image files, folders and archives of images."""
    compilation_cache: CompilationCache = False


@dataclasses.dataclass(frozen=True)
class Audit:
    """Count the images of DATA, its duplicates, and those that lie on both sides of a split."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """As for train; parts that the data fix are audited as they are."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """New directory for audit.json and a picture of the largest groups. Default: none, print only."""
    seed: int = 0
    """The split that `medjax train` would draw with it is audited."""
    json: bool = False
    """Print what was found as one line, the last of stdout."""
    config: tyro.conf.OmitArgPrefixes[DataConfig] = PRESETS["report"].data


@dataclasses.dataclass(frozen=True)
class Split:
    """Copy the images of DATA into OUT/train and OUT/test, a folder a class in each."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder with a folder per class, or a .zip or .tar(.gz|.xz) of one. It is only read."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """New or empty directory."""
    test: float = 0.2
    """Share of the images that go to test, of each class alike."""
    seed: int = 0
    """Which ones they are follows from it."""
    config: tyro.conf.OmitArgPrefixes[DataConfig] = dataclasses.field(default_factory=DataConfig)


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Download a published data set and verify its checksum."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """medical-mnist, or a set of MedMNIST such as retinamnist."""
    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="[DIR]")] = Path("data")
    """Where to put the file."""


Command = Train | Crossval | Evaluate | Compare | Predict | Audit | Split | Fetch
