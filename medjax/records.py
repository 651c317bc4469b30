"""Array types and records that more than one room shares. Host side only: importing this does not import jax."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped, UInt8

Images = UInt8[np.ndarray, "n height width channel"]
Labels = Int32[np.ndarray, "n"]
Indices = Int64[np.ndarray, "m"]
Names = Shaped[np.ndarray, "n"]
Probabilities = Float32[np.ndarray, "m class"]


class LoadCounts(NamedTuple):
    """What loading did to the images besides reading them; shown to the user and kept in run.json."""

    resized: int = 0  # images whose size was not the model's
    reshaped: int = 0  # of those, the ones whose aspect ratio changed
    reoriented: int = 0  # images turned upright by their EXIF tag
    recolored: int = 0  # images converted by an explicit color choice
    rescaled: int = 0  # 16-bit images reduced to 8 bits by an explicit choice
    skipped: int = 0  # junk: __MACOSX, ._*, .DS_Store, Thumbs.db, dot folders, text files in the root
    ignored: int = 0  # files left out by --ignore
    conflicting: int = 0  # images of an .npz that stand there under two labels; refused in other sources


class Dataset(NamedTuple):
    """Labelled images in memory, in the order of their ids."""

    images: Images  # grey levels 0 to 255; 1 channel is gray, 3 are RGB
    labels: Labels  # index into class_names
    class_names: tuple[str, ...]
    ids: Names  # str: the source's own relative names, "/" between the parts
    digests: UInt8[
        np.ndarray, "n 32"
    ]  # sha256 of the decoded pixels at full size, before color and size change
    name: str  # base name of the source, for titles and directories
    split: Names | None = None  # str: "train", "val" or "test" where the source fixes its parts
    groups: Names | None = None  # str: images of one group (patient, lesion, scan, copies) must stay together
    counts: LoadCounts = LoadCounts()
    is_synthetic: bool = False
    grouped_by: tuple[str, ...] = ()  # what made the groups, in union: "user", "exact" or "near" duplicates


class Split(NamedTuple):
    """Which images a fold trains on, chooses by and is scored on: disjoint, each sorted."""

    train: Indices
    val: Indices
    test: Indices


class Predictions(NamedTuple):
    """What a model says of some images of a data set."""

    indices: Indices  # into the data set
    labels: Int32[np.ndarray, "m"]
    probabilities: Probabilities  # rows sum to 1
    losses: Float32[np.ndarray, "m"]  # cross-entropy of each image, in nats
    class_names: tuple[str, ...] | None = None
