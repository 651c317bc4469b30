"""Predictions of a trained network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import refuse
from medjax.models.network import count_classes
from medjax.records import UNKNOWN, Dataset, Indices, Predictions, require_indices
from medjax.training.batching import pad_indices
from medjax.training.fold_plan import evaluation_batch
from medjax.training.inputs import Arrays, as_arrays, require_classes, variables_of
from medjax.training.learner import Learner
from medjax.training.programs import compile_evaluation

_IMAGES_A_CALL = 8192


def predict(learner: Learner, state: Any, data: Any, indices: Any = None) -> Predictions:
    """Probabilities, and losses where there are labels, of the images at `indices`; of all of them by default.

    `state` is what `fit` yields, its best variables (`state.best`), or `Variables`; of several folds, that of one
    (`select_fold`). `data` is a `Dataset`, a pair (images, labels), or images alone, uint8. Raises RefusedError for
    arrays that do not fit together, and for answers that are not finite.
    """
    arrays = as_arrays(data, needs_labels=False)
    require_classes(learner, arrays)
    variables = variables_of(learner, state, arrays.images.shape[1:])
    num_images = len(arrays.images)
    chosen = np.arange(num_images) if indices is None else require_indices("indices", indices, num_images)
    labels = _placeholders(learner, arrays) if arrays.labels is None else np.asarray(arrays.labels)
    probabilities, losses = _evaluate(learner, variables, arrays.images, labels, chosen)
    _require_finite(learner, chosen, probabilities, None if arrays.labels is None else losses)
    class_names = data.class_names if isinstance(data, Dataset) else None
    if arrays.labels is None:
        return Predictions(chosen, None, probabilities, None, class_names)
    return Predictions(chosen, labels[chosen], probabilities, losses, class_names)


def _placeholders(learner: Learner, arrays: Arrays) -> np.ndarray:
    """Labels of images that have none: their shape tells whether there may be several an image."""
    num_images = len(arrays.images)
    if not learner.several_labels:
        return np.zeros(num_images, np.int32)
    return np.full((num_images, count_classes(learner.network, arrays.images.shape[1:])), UNKNOWN, np.int32)


def _require_finite(
    learner: Learner, indices: Indices, probabilities: np.ndarray, losses: np.ndarray | None
) -> None:
    """RefusedError where a number is not finite: it would be compared, and even printed, as if it were an answer."""
    is_finite = np.isfinite(probabilities).all(axis=1)
    if losses is not None:
        is_finite &= np.isfinite(losses)
    if is_finite.all():
        return
    count, first = np.sum(~is_finite), indices[is_finite.argmin()]
    raise refuse(
        f"network {learner.network.name}",
        f"its answers to {count:,} of {len(indices):,} images are not finite, first that to image {first}",
        "its parameters overflow: train again with a smaller --learning-rate",
    )


def _evaluate(
    learner: Learner, variables: Any, images: Any, labels: Any, indices: Indices
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and losses of the images at `indices`."""
    if len(indices) == 0:
        num_classes = count_classes(learner.network, images.shape[1:])
        return np.zeros((0, num_classes), np.float32), np.zeros(0, np.float32)
    images, labels = jax.device_put(
        (images, labels)
    )  # which shares images of the host, where `asarray` copies
    variables = jax.tree.map(jnp.asarray, variables)
    evaluate = compile_evaluation(learner)
    size, batch_size = _IMAGES_A_CALL, evaluation_batch()  # one program, however many images there are
    calls = [
        evaluate(variables, images, labels, pad_indices(rows, size), -(-len(rows) // batch_size))
        for rows in np.split(indices, range(size, len(indices), size))
    ]
    probabilities, losses = (
        np.concatenate(parts)[: len(indices)] for parts in zip(*jax.device_get(calls), strict=True)
    )
    return probabilities, losses
