"""Check what `fit` and `predict` are given before anything is computed, and say what was got and what is wanted."""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Array, Float32, Int32, UInt

from medjax.config import ClassBalance
from medjax.errors import counted, refuse
from medjax.models.network import Variables, abstract_variables, count_classes
from medjax.records import Dataset, Split, require_split
from medjax.training.folds import Best, Controls, FoldState
from medjax.training.learner import Learner, LearnerState
from medjax.training.strategies import StrategyName

_SCALE_BACK = "give gray levels of 0 to 255 as uint8, as np.round(255 * images).astype(np.uint8)"


class Arrays(NamedTuple):
    """Images, and their labels if they have any."""

    images: UInt[Array | np.ndarray, "n height width channel"] | Float32[Array, "n height width feature"]
    labels: Int32[Array | np.ndarray, "n *label"] | None


class FeatureMaps(NamedTuple):
    """What frozen features made of images, in their place (see `medjax.training.features_once`)."""

    images: Float32[Array, "n height width feature"]
    labels: Int32[Array, "n *label"]


def as_arrays(data: Any, *, needs_labels: bool) -> Arrays:
    """The arrays of a `Dataset`, of a pair (images, labels), or of images alone; RefusedError for any others."""
    images: Any
    labels: Any
    if isinstance(data, FeatureMaps):
        return Arrays(*data)
    if isinstance(data, Dataset):
        images, labels = data.images, data.labels
    elif isinstance(data, tuple) and len(data) == 2:
        images, labels = data
    else:
        images, labels = data, None
    images = _require_images(images)
    if labels is None:
        if needs_labels:
            raise refuse("data", "has no labels", "give a Dataset or a pair (images, labels)")
        return Arrays(images, None)
    return Arrays(images, _require_labels(labels, len(images)))


def _require_images(images: Any) -> UInt[Array | np.ndarray, "n height width channel"]:
    if not isinstance(images, jax.Array):
        try:
            images = np.asarray(images)
        except ValueError:  # lists of unequal lengths
            raise refuse("images", "do not have one common shape", "make them one array") from None
    if images.dtype.kind not in "biuf":
        remedy = "load files by medjax.load, or ask a run: medjax.load_run(RUN).predict(paths)"
        raise refuse("images", "are no numbers", remedy)
    if images.dtype not in (np.uint8, np.uint16):
        raise refuse("images", f"have dtype {images.dtype}", _SCALE_BACK)
    if images.ndim == 3 and images.shape[-1] in (1, 3):
        raise refuse("images", f"have shape {images.shape}, that of one image", "give a stack: images[None]")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        wanted = "give an array [n, height, width] or [n, height, width, channel]"
        raise refuse("images", f"have shape {images.shape}", wanted)
    return images


def _require_labels(labels: Any, num_images: int) -> Int32[Array | np.ndarray, "n *label"]:
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if labels.shape == (num_images, 1):
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or len(labels) != num_images:
        raise refuse(
            "labels",
            f"have shape {labels.shape} for {counted(num_images, 'image')}",
            "give one label an image, or a row of 1, 0 and -1 (not known)",
        )
    if labels.dtype.kind not in "iu":
        raise refuse(
            "labels", f"have dtype {labels.dtype}", "give whole numbers from 0, as labels.astype(int)"
        )
    return labels.astype(np.int32)


def require_splits(splits: Sequence[Any], num_images: int) -> list[Split]:
    """Splits as index arrays; RefusedError where `require_split` refuses one, and if there is none."""
    if isinstance(splits, Split):
        raise refuse("splits", "is a single split", "give a list of splits to fit_folds, or call fit")
    if not len(splits):
        raise refuse("splits", "there is none", "give at least one")
    return [require_split(split, num_images, f"split {number}") for number, split in enumerate(splits)]


def require_classes(learner: Learner, arrays: Arrays) -> int:
    """The number of classes that a network tells apart; RefusedError if a label is none of them.

    Of several labels it is 2: each is there or not, and scores while training are of all of them together.
    """
    num_classes = count_classes(learner.network, arrays.images.shape[1:])
    if arrays.labels is None or len(arrays.labels) == 0:
        return 2 if learner.several_labels else num_classes
    labels = np.asarray(arrays.labels)
    if labels.ndim == 2 or learner.several_labels:
        _require_matrix(learner, labels, num_classes)
        return 2
    if labels.min() < 0 or labels.max() >= num_classes:
        raise refuse(
            "labels",
            f"are from {labels.min()} to {labels.max()}, and network {learner.network.name} has {counted(num_classes, 'logit')}",
            "number the classes from 0, and give the network as many logits as there are classes",
        )
    return num_classes


def _require_matrix(learner: Learner, labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim != 2 or not learner.several_labels:
        reason = f"have shape {labels.shape}, and the learner is one of {'several labels' if learner.several_labels else 'one class'} an image"
        remedy = "give a row of 1, 0 and -1 an image, and make_learner(..., several_labels=True); or one class an image, without"
        raise refuse("labels", reason, remedy)
    if labels.shape[1] != num_classes:
        reason = f"have {counted(labels.shape[1], 'column')}, and network {learner.network.name} has {counted(num_classes, 'logit')}"
        raise refuse("labels", reason, "give the network as many logits as there are labels")
    if not np.isin(labels, (-1, 0, 1)).all():
        raise refuse("labels", f"are from {labels.min()} to {labels.max()}", "give 1, 0 and -1 (not known)")


def require_options(
    splits: Sequence[Split],
    *,
    seed: int,
    num_epochs: int,
    batch_size: int,
    loss_proportional_sampling: int,
    class_balance: str,
    controls: Controls,
    strategy: str,
    folds: Sequence[int] | None,
) -> None:
    """Raise RefusedError for options of `fit_folds` that are out of range or do not go together."""
    for name, number, low, high in (
        ("seed", seed, 0, 2**32 - 1),
        ("num_epochs", num_epochs, 0, None),
        ("batch_size", batch_size, 1, None),
        ("loss_proportional_sampling", loss_proportional_sampling, 0, None),
        *(("folds", fold, 0, len(splits) - 1) for fold in ([] if folds is None else folds)),
    ):
        is_whole = isinstance(number, int | np.integer)
        if not is_whole or number < low or (high is not None and number > high):
            limit = f"at least {low}" if high is None else f"{low} to {high}"
            raise refuse(name, f"is {number}", f"give a whole number, {limit}")
    for name, word, known in (
        ("class_balance", class_balance, get_args(ClassBalance)),
        ("strategy", strategy, get_args(StrategyName)),
    ):
        if word not in known:
            raise refuse(name, f"is {word!r}", f"give one of {', '.join(known)}")
    if controls.need_validation and not all(len(split.val) for split in splits):
        raise refuse("controls", "a split has no validation part to follow", "give every split one")
    if loss_proportional_sampling and class_balance == "sampling":
        raise refuse(
            "class_balance", "images are drawn by their losses already", "use weights, or one of the two"
        )


def require_state(state: Any, expected: FoldState) -> None:
    """Raise RefusedError for a state that cannot be continued; `expected` has the shapes of one that can."""
    if not isinstance(state, FoldState):
        raise refuse("state", f"is a {type(state).__name__}", "give a state that fit or fit_folds yields")
    got, want = (
        [(np.shape(leaf), leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, expected)
    )
    if got != want:
        raise refuse(
            "state",
            "is not one that this learner yields for these folds and options",
            "give a state of the same call: of fit to fit, of fit_folds to fit_folds",
        )


def variables_of(learner: Learner, state: Any, image_shape: tuple[int, ...]) -> Variables:
    """The variables of one fold out of whatever holds them; RefusedError where they are not this network's."""
    if isinstance(state, FoldState):
        state = state.learner
    if isinstance(state, Best) and np.min(state.epoch) < 0:
        raise refuse(
            "state",
            "has no best epoch, as none was scored",
            "train with a val part, or give the state itself",
        )
    if isinstance(state, LearnerState | Best):
        state = state.variables
    if not isinstance(state, Variables):
        wanted = "give a state that fit yields, or Variables(parameters, state)"
        raise refuse("state", f"is a {type(state).__name__}", wanted)
    expected = abstract_variables(learner.network, image_shape)
    structures: list[Any] = [jax.tree.structure(tree) for tree in (expected, state)]
    if structures[0] != structures[1]:
        raise refuse(
            "state", f"has other arrays than network {learner.network.name}", "give a state of this network"
        )
    for want, got in zip(jax.tree.leaves(expected), jax.tree.leaves(state), strict=True):
        if want.shape == got.shape:
            continue
        has_fold_axis = got.shape[1:] == want.shape
        raise refuse(
            "state",
            f"has an array of shape {got.shape} where network {learner.network.name} has {want.shape}",
            "take one fold of it: medjax.select_fold(state, 0)"
            if has_fold_axis
            else "give a state of this network",
        )
    return state
