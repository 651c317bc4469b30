"""Data sets: download, copy into train and test folders, read."""

import hashlib
from pathlib import Path
from typing import Any

from medjax.config import DataConfig
from medjax.data.download import fetch
from medjax.data.folders_out import export_split
from medjax.data.load import load
from medjax.errors import counted
from medjax.jobs.sharing import once
from medjax.progress import Display
from medjax.records import Dataset
from medjax.report import wording

_DEFAULT = DataConfig()


def fetch_data(name: str, directory: str | Path = "data", *, is_quiet: bool = True) -> Path:
    """Download a published data set by name, verify its checksum, and return the file's path.

    A file that is there already is verified and left alone. RefusedError says what to download by hand.
    """
    with Display(is_quiet=is_quiet) as display:
        display.start("fetching", unit="MB")

        def show(done: int, total: int | None) -> None:
            display.advance(done // 10**6, None if total is None else total // 10**6)

        return fetch(name, directory, on_progress=show)


def split_data(
    source: str | Path,
    target: str | Path,
    *,
    test_share: float = 0.2,
    seed: int = 0,
    config: DataConfig = _DEFAULT,
    is_quiet: bool = True,
) -> dict[str, dict[str, int]]:
    """Copy the images of `source` into train and test folders under `target`, stratified by class.

    Returns the number of images by part and class name. RefusedError says what cannot be copied, before anything is.
    """
    with Display(is_quiet=is_quiet) as display:
        display.start("copying")
        return export_split(source, target, test_share, seed=seed, config=config, on_progress=display.advance)


def load_dataset(source: str | Path | Dataset, config: DataConfig, display: Display) -> Dataset:
    """Read a data set and say in a line what was read; one that is given is taken as it is."""
    dataset = read_dataset(source, config, display)
    if not isinstance(source, Dataset):
        tell_dataset(dataset, display)
    return dataset


def read_dataset(source: str | Path | Dataset, config: DataConfig, display: Display) -> Dataset:
    """Read a data set; one that is given is taken as it is."""
    if isinstance(source, Dataset):
        return source
    return once(("dataset", str(source), config), lambda: _read(source, config, display))


def _read(source: str | Path, config: DataConfig, display: Display) -> Dataset:
    display.start("reading")
    return load(source, config, on_progress=display.advance)


def tell_dataset(dataset: Dataset, display: Display) -> None:
    """Say in a line what was read."""
    num_images, num_classes = len(dataset.labels), len(dataset.class_names)
    found = f"{dataset.name}: {counted(num_images, 'image')} of {counted(num_classes, 'class')}"
    if dataset.has_several_labels:
        found = f"{dataset.name}: {counted(num_images, 'image')}, {counted(num_classes, 'label')}, several an image"
        if unknown := int((dataset.labels < 0).sum()):
            found += f", {unknown / dataset.labels.size:.1%} of them not known"
    described = describe_loading(dataset)
    if described["table"] is not None:
        display.say(wording.table(described["table"]))
    if described["dicom"] is not None:
        display.say(wording.dicom(described["dicom"]))
    display.say("; ".join([found, *wording.loading(described)]))


def describe_loading(dataset: Dataset) -> dict[str, Any]:
    """The fields of run.json's block `data` that say how images were made of what is stored.

    `image_shape`; `source_sizes`, width and height of the smallest and of the largest image, null if unknown; `window`,
    that of 16-bit images, null if there are none; `loading`, the numbers of images that were changed or left out; and
    `table`, what a table of labels was taken to say, null without one: its `parts` are the sha256 of the part or fold of
    each image in order, null if it has none. `dicom`: the rule by which gray levels were made of DICOM files, and the tag that
    they are grouped by; null if there are none.
    """
    return {
        "image_shape": list(dataset.images.shape[1:]),
        "source_sizes": dataset.source_sizes and [list(size) for size in dataset.source_sizes],
        "window": dataset.window and dataset.window._asdict(),
        "loading": dataset.counts._asdict(),
        "dicom": dataset.dicom and dataset.dicom._asdict(),
        "table": dataset.table and {**dataset.table._asdict(), "parts": _parts_digest(dataset)},
    }


def _parts_digest(dataset: Dataset) -> str | None:
    parts = dataset.split if dataset.folds is None else dataset.folds
    return None if parts is None else hashlib.sha256("\0".join(parts).encode()).hexdigest()
