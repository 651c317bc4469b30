"""Which images of other data are those of a run, by their pixels and their names."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from medjax.csv_text import read_csv, write_csv
from medjax.errors import refuse
from medjax.files import open_bounded
from medjax.jobs.outside_range import COLUMN
from medjax.records import Dataset, Names
from medjax.runs import directory as run_files

OWN = "images.csv"
"""File in a run directory: id and sha256 of the full-size pixels of each of its images, trained on or not."""
MISSING_NAMED = 20
"""Images of the run that the data lack and that metrics.json names; images.csv beside it names all of them."""
_MAX_BYTES = 256 * 2**20  # of images.csv; a million images need half of this
_DIGEST_DIGITS = 64
_KINDS = ("trained", "held_back", "changed", "new")


class Overlap(NamedTuple):
    """What the images of other data are to a run."""

    kinds: Names  # of each image: "trained" (on), "held_back", "changed" (name of one, other pixels) or "new"
    missing: list[str]  # ids of the run's images that are not in the data
    num_own: int  # images of the run

    def describe(self) -> dict[str, Any]:
        """The block `overlap` of metrics.json: number of images, of the data by kind, of the run, and of its missing ones."""
        counts = Counter(self.kinds.tolist())
        return {
            "n": len(self.kinds),
            **{kind: counts[kind] for kind in _KINDS},
            "run": self.num_own,
            "missing": {"n": len(self.missing), "named": self.missing[:MISSING_NAMED]},
        }

    @property
    def is_mostly_own(self) -> bool:
        """Whether at least half of the images are the run's own."""
        return bool(2 * np.isin(self.kinds, ("trained", "held_back")).sum() >= len(self.kinds))


def write_own_images(directory: Path, dataset: Dataset) -> None:
    """Write ids and digests of all images of a run."""
    digests = dataset.digests.tobytes().hex()
    rows = (
        (str(id), digests[_DIGEST_DIGITS * row : _DIGEST_DIGITS * (row + 1)])
        for row, id in enumerate(dataset.ids)
    )
    run_files.write_text(directory / OWN, write_csv([("id", "sha256"), *rows]))


def find_overlap(directory: Path, dataset: Dataset, is_trained: Bool[np.ndarray, "n"]) -> Overlap:
    """Compare the images of `dataset` with those of a run; `is_trained` says which of them it was trained on.

    Raises RefusedError where the run's list of images cannot be read.
    """
    own = _read_own_images(directory / OWN)
    known, names = set(own.values()), own.keys()
    ids, digests = dataset.ids.tolist(), [digest.tobytes().hex() for digest in dataset.digests]
    kinds = [
        "trained" if was_trained else "held_back" if digest in known else "changed" if id in names else "new"
        for id, digest, was_trained in zip(ids, digests, is_trained, strict=True)
    ]
    there, here = set(digests), set(ids)
    missing = [id for id, digest in own.items() if digest not in there and id not in here]
    return Overlap(np.array(kinds), missing, len(own))


def write_kinds(
    path: Path,
    dataset: Dataset,
    overlap: Overlap,
    outside: Sequence[tuple[str, ...]],
    *,
    root: Path | None = None,
) -> None:
    """Write what each image is to the run: a row for each, then one for each that is missing.

    `root` is that of `write_whole`.
    """
    rows: list[tuple[str, ...]] = [("id", "kind", COLUMN)]
    for id, kind, names in zip(dataset.ids.tolist(), overlap.kinds.tolist(), outside, strict=True):
        rows.append((id, kind, " ".join(names)))
    run_files.write_text(
        path, write_csv([*rows, *((id, "missing", "") for id in overlap.missing)]), root=root
    )


def _read_own_images(path: Path) -> dict[str, str]:
    """Digest of each image of a run in hexadecimal, by its id; RefusedError for what may be a stranger's and is no such list."""
    try:
        with open_bounded(path, _MAX_BYTES) as file, io.TextIOWrapper(file, "utf-8", newline="") as lines:
            own = {row["id"]: _require_digest(row["sha256"]) for row in read_csv(lines)}
        if not own:
            raise ValueError("empty")
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise refuse(path, f"cannot be read ({type(error).__name__})", "restore it from a copy") from error
    return own


def _require_digest(text: str) -> str:
    # The length also bounds the number of rows, and so the memory that they take.
    if len(text) != _DIGEST_DIGITS or text.strip("0123456789abcdef"):
        raise ValueError("no digest")
    return text
