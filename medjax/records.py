"""Arrays and records that several rooms share. Host side only: importing this does not import JAX."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64, Shaped, UInt8, UInt16

from medjax.errors import Problem, RefusedError, counted, refuse

Images = UInt8[np.ndarray, "n height width channel"] | UInt16[np.ndarray, "n height width channel"]
"""From 0, black, to the largest value of the type, white."""
Labels = Int32[np.ndarray, "n"]
LabelMatrix = Int32[np.ndarray, "n label"]  # 1: the image has the label, 0: it has not, -1: not known
AnyLabels = Int32[np.ndarray, "n *label"]
"""One class an image, or several labels: the number of axes tells."""
Indices = Int64[np.ndarray, "m"]
Names = Shaped[np.ndarray, "n"]
Probabilities = Float32[np.ndarray, "m class"]

UNKNOWN = -1
"""In a matrix of labels: it is not known whether the image has the label."""
SEPARATOR = "|"
"""Between the names of several labels of an image."""
NO_LABEL = "no label"
"""In the place of a name: an image has none of the labels."""
_KEPT_TOGETHER = {
    "user": "groups",
    "frames": "frames of a file",
    "exact": "identical images",
    "near": "nearly identical images",
}
EVEN_THRESHOLD = 0.5
"""From this probability on a label is predicted where no threshold was chosen."""


class LoadCounts(NamedTuple):
    """How many images loading changed or left out; shown to the user and kept in run.json."""

    resized: int = 0  # images of another size than the model's
    reshaped: int = 0  # of those, images that were stretched: their aspect ratio changed
    padded: int = 0  # of those, images padded with black by --fit pad
    cropped: int = 0  # of those, images cropped to their center by --fit crop
    composited: int = 0  # images with transparent pixels, laid on --background
    reoriented: int = 0  # images turned upright by their EXIF tag
    recolored: int = 0  # images converted by --color
    rescaled: int = 0  # 16-bit images whose values --window made gray levels
    hounsfield: int = 0  # DICOM images of CT, read through --window in Hounsfield units
    given_window: int = 0  # DICOM images of other modalities, read through --window LO HI
    own_window: int = 0  # DICOM images read through the window of each file (X-ray, ultrasound)
    percentiles: int = 0  # DICOM images of MR, each from its own 1st to its 99th percentile
    colored: int = 0  # DICOM images in color, or with a palette
    inverted: int = 0  # DICOM images stored with white as 0 (MONOCHROME1)
    skipped: int = 0  # junk: __MACOSX, ._*, .DS_Store, Thumbs.db, dot folders, texts, other arrays of an .npz
    tables: int = 0  # tables beside the class folders, which are not read
    ignored: int = 0  # files left out by --ignore
    bad: int = 0  # images that cannot be read, left out by --skip-bad
    conflicting: int = 0  # identical images with different labels (.npz and arrays; refused in files)
    guessed_names: int = 0  # images of a zip whose names are in an unknown encoding, read as code page 437


class Window(NamedTuple):
    """How the values of 16-bit images became gray levels: one rule for all images of a set."""

    low: int  # this value and all below it became black
    high: int  # this value and all above it became white
    levels: int  # different gray levels that are left, over all images read through it
    bits: int = 8  # of a gray level, 8 or 16


class DicomUse(NamedTuple):
    """How gray levels and groups were made of DICOM files; shown to the user and kept in run.json."""

    rule: str  # in words, one for the whole set
    grouped_by: str | None = None  # PatientID or StudyInstanceUID; None if neither tells images apart
    bits: int = 8  # of a gray level, 8 or 16

    @property
    def group_sources(self) -> tuple[str, ...]:
        """What the groups are of, if there are any: see `Dataset.grouped_by`."""
        return ("frames",) if self.grouped_by is None else ("user",)


class TableUse(NamedTuple):
    """What was taken from a table of labels; shown to the user and kept in run.json."""

    name: str  # of the file
    sha256: str  # of its bytes, in hexadecimal
    image_column: str
    label_columns: tuple[str, ...]  # one, or one of 0 and 1 for each class
    group_column: str | None = None
    part_column: str | None = None
    rows: int = 0
    rows_without_image: int = 0  # left out by --allow-missing, as are the next two
    images_without_row: int = 0
    images_without_label: int = 0
    images_beside: int = 0  # images in folders none of whose images has a row
    folders_beside: int = 0


class Dataset(NamedTuple):
    """Labelled images in memory."""

    images: Images  # gray levels, of 16 bits where --depth keeps them; 1 channel is gray, 3 are RGB
    labels: AnyLabels  # index into class_names; of several labels an image a column for each of class_names
    class_names: tuple[str, ...]
    ids: Names  # str: file names relative to the source, separated by "/"; `load` sorts by them
    digests: UInt8[np.ndarray, "n 32"]  # sha256 of the decoded pixels, before color or size changes
    name: str  # base name of the source, for titles and directories
    split: Names | None = None  # str: "train", "val" or "test" if the source fixes the parts
    groups: Names | None = None  # str: images of one group (patient, lesion, scan, copies) stay in one part
    counts: LoadCounts = LoadCounts()
    is_synthetic: bool = False
    # Sources of the groups: "user", or "frames" of a file, and "exact" or "near" duplicates.
    grouped_by: tuple[str, ...] = ()
    window: Window | None = None  # of its 16-bit images; None if there are none
    # Width and height, in pixels, of the smallest and of the largest image as it was stored.
    source_sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    bad: tuple[Problem, ...] = ()  # images that cannot be read, left out by --skip-bad
    folds: Names | None = None  # str: numbers of the folds of a cross-validation, if a table fixes them
    table: TableUse | None = None  # the table of labels; None if there is none
    dicom: DicomUse | None = None  # None if there are no DICOM files

    @property
    def num_classes(self) -> int:
        """How many classes there are, with or without images; of several labels an image, how many labels."""
        return len(self.class_names)

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may have several labels, or none, rather than one class."""
        return self.labels.ndim == 2

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.images.shape[1:]))
        classes = counted(self.num_classes, "label" if self.has_several_labels else "class")
        return f"Dataset({self.name!r}, {counted(len(self.labels), 'image')} of {shape}, {classes})"


def kept_together(sources: Sequence[str]) -> str:
    """What groups of these sources, as `Dataset.grouped_by`, keep together, in words."""
    return " and ".join(_KEPT_TOGETHER.get(source, source) for source in sources)


def has_label(labels: AnyLabels, label: int) -> Bool[np.ndarray, "n"]:
    """Which images are of the class with this number, or are known to have the label."""
    return labels == label if labels.ndim == 1 else labels[:, label] == 1


def count_labels(labels: AnyLabels, num_classes: int) -> Int64[np.ndarray, "class"]:
    """How many images are of each class, or are known to have each label."""
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    return np.bincount(labels, minlength=num_classes)


def label_sets(labels: AnyLabels) -> Labels:
    """The class of each image; of several labels a number for each combination of them: images with equal ones are alike."""
    if labels.ndim == 1:
        return labels
    return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)


def describe_labels(labels: AnyLabels, names: Sequence[str]) -> Callable[[int], str]:
    """A function from an image to its class; of several labels to those it has, "no label" for none, "?" before unknown ones."""
    if labels.ndim == 1:
        return lambda image: names[labels[image]]

    def describe(row: np.ndarray) -> str:
        present, unknown = (name_labels(row == value, names) for value in (1, UNKNOWN))
        return (present or NO_LABEL) + (f" ?{unknown}" if unknown else "")

    combinations, numbers = np.unique(labels, axis=0, return_inverse=True)
    texts, numbers = [*map(describe, combinations)], numbers.reshape(-1)
    return lambda image: texts[numbers[image]]


def name_labels(is_present: Bool[np.ndarray, "label"], names: Sequence[str]) -> str:
    """The names of the labels that are present, with "|" between them; "" for none."""
    return SEPARATOR.join(names[label] for label in np.flatnonzero(is_present).tolist())


class Split(NamedTuple):
    """Indices of the images to train on, to choose by and to score; disjoint, each sorted."""

    train: Indices
    val: Indices
    test: Indices


def require_split(split: Sequence[Any], num_images: int, name: str = "split") -> Split:
    """Check a split that a user made; returns it with each part as a sorted int64 array.

    A part may be any sequence of whole numbers; val and test may be empty. `name` stands in messages. Raises RefusedError for indices that are not
    whole numbers from 0 to `num_images` - 1 or stand there twice, and for an empty train part.
    """
    if len(split) != len(Split._fields):
        raise refuse(name, f"has {counted(len(split), 'part')}", "give three: train, val, test")
    checked = Split(
        *(
            _part_indices(f"{name}.{field}", part, num_images)
            for field, part in zip(Split._fields, split, strict=True)
        )
    )
    problems = []
    if len(checked.train) == 0:
        problems.append(Problem(name, "has no train images", "list at least one"))
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = np.intersect1d(getattr(checked, first), getattr(checked, second))
        if len(shared):
            reason = f"has {counted(len(shared), 'image')} in both {first} and {second}, such as {shared[0]}"
            problems.append(Problem(name, reason, "list each image once"))
    if problems:
        raise RefusedError(problems)
    return checked


def _part_indices(name: str, part: Iterable[Any], num_images: int) -> Indices:
    indices = require_indices(name, part, num_images)
    unique, counts = np.unique(indices, return_counts=True)
    if len(unique) < len(indices):
        raise refuse(name, f"contains the index {unique[counts.argmax()]} twice", "list it once")
    return unique


def require_indices(name: str, indices: Any, num_images: int) -> Indices:
    """Indices of images as int64, in the order given; RefusedError for any others, a mask among them."""
    indices = np.asarray(indices)
    if indices.ndim != 1:
        raise refuse(name, f"has shape {indices.shape}", "give a list of indices")
    if len(indices) == 0:
        return np.empty(0, np.int64)
    if indices.dtype.kind not in "iu":
        remedy = "np.flatnonzero(mask)" if indices.dtype == bool else "whole numbers"
        raise refuse(name, f"contains values of type {indices.dtype}", f"give indices: {remedy}")
    low, high = indices.min(), indices.max()
    if low < 0 or high >= num_images:
        outside = low if low < 0 else high
        raise refuse(name, f"contains the index {outside}", f"0 to {num_images - 1}")
    return indices.astype(np.int64)


class Predictions(NamedTuple):
    """A model's class probabilities for some images of a data set, a row for each image.

    Of several labels an image, labels are a matrix of 1, 0 and -1 (not known), and each probability is that of a label
    alone.
    """

    indices: Indices  # into the data set
    # None for images without labels; `Any` spares every reader that has labels a check.
    labels: Int32[np.ndarray, "m *label"] | Any
    probabilities: Probabilities  # rows sum to 1, but for several labels
    losses: Float32[np.ndarray, "m"] | Any  # cross-entropy of each image, in nats; None without labels
    class_names: tuple[str, ...] | None = None
    # Of several labels: the probability from which on each is predicted, for all rows or for each; None: 0.5.
    thresholds: Float32[np.ndarray, "*m label"] | None = None

    @property
    def all_thresholds(self) -> Float32[np.ndarray, "m label"]:
        """The threshold of each label in each row."""
        if self.thresholds is None:
            return np.full(self.probabilities.shape, EVEN_THRESHOLD, np.float32)
        return np.broadcast_to(self.thresholds, self.probabilities.shape)

    @property
    def decisions(self) -> Bool[np.ndarray, "m label"]:
        """Of several labels: which of them are predicted."""
        return self.probabilities >= self.all_thresholds

    def take(self, rows: Int[np.ndarray, "_"] | Bool[np.ndarray, "_"] | slice) -> "Predictions":
        """The rows at these positions, or where the mask is true, in that order."""
        return Predictions(
            self.indices[rows],
            None if self.labels is None else self.labels[rows],
            self.probabilities[rows],
            None if self.losses is None else self.losses[rows],
            self.class_names,
            None if self.thresholds is None else self.all_thresholds[rows],
        )


def concatenate_predictions(parts: Sequence[Predictions]) -> Predictions:
    """One after the other; RefusedError if their classes differ, or only some of them have labels or losses."""
    if len({part.class_names for part in parts}) != 1:
        raise refuse("predictions", "are of different classes", "concatenate those of one model")
    return Predictions(
        np.concatenate([part.indices for part in parts]),
        _concatenate_optional("labels", [part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        _concatenate_optional("losses", [part.losses for part in parts]),
        parts[0].class_names,
        _concatenate_optional(
            "thresholds", [None if part.thresholds is None else part.all_thresholds for part in parts]
        ),
    )


def _concatenate_optional(name: str, arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    found = [array for array in arrays if array is not None]
    if 0 < len(found) < len(arrays):
        raise refuse(
            "predictions", f"have {name} in some parts only", "give them for all images, or for none"
        )
    return np.concatenate(found) if found else None
