"""A learner: pure functions that make a state, improve it by one batch, and apply it. Nothing here is jitted."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int32, Key, PyTree

from medjax.metrics import Sums, sum_batch
from medjax.training.batching import Batch

Augment = Callable[
    [Key[Array, ""], Float[Array, "height width channel"]], Float[Array, "height width channel"]
]


class LearnerState(NamedTuple):
    """What the next step needs."""

    parameters: PyTree[Float32[Array, "..."]]
    optimizer_state: optax.OptState
    step: Int32[Array, ""]  # steps taken
    learning_rate_scale: Float32[Array, ""]  # factor on every update; 1 until a plateau lowers it


class StepInfo(NamedTuple):
    """What a person needs to know of a step."""

    sums: Sums  # over the batch as trained on: augmented, with dropout
    losses: Float32[Array, "batch"]  # of each image, in nats; of no meaning where there is none
    is_finite: Bool[Array, ""]  # loss and gradient; where false the state was left as it was


class Evaluation(NamedTuple):
    """A model's answers to a batch."""

    logits: Float32[Array, "batch class"]
    losses: Float32[Array, "batch"]  # cross-entropy in nats


class Learner(NamedTuple):
    """The functions a training loop calls."""

    init: Callable[[Key[Array, ""], tuple[int, ...]], LearnerState]
    train_step: Callable[[Key[Array, ""], LearnerState, Batch], tuple[LearnerState, StepInfo]]
    eval_step: Callable[[PyTree, Batch], Evaluation]
    predict_step: Callable[[PyTree, Batch], Evaluation]  # as eval_step, averaged over test-time augmentations
    num_classes: int


def make_learner(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    test_time_augmentation: int = 0,
) -> Learner:
    """A learner that trains `model` (images to logits) by cross-entropy.

    `train_step` divides the loss, weighed where the batch has weights, by the number of real images. A batch without any,
    or whose loss or gradient is not finite, leaves the state as it was, the optimizer's moments included.

    `predict_step` averages the probabilities over `test_time_augmentation` fixed augmentations, the same for every
    image. With 0 of them, or without `augment`, it is `eval_step`.
    """

    def init(key: Key[Array, ""], image_shape: tuple[int, ...]) -> LearnerState:
        parameters = model.init(key, jnp.zeros((1, *image_shape)))["params"]
        return LearnerState(
            parameters, optimizer.init(parameters), jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32)
        )

    def mean_loss(parameters: PyTree, key: Key[Array, ""], batch: Batch) -> tuple[Array, tuple[Sums, Array]]:
        logits = model.apply({"params": parameters}, batch.images, is_training=True, rngs={"dropout": key})
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        weighed = losses if batch.weights is None else losses * batch.weights
        mean = jnp.where(batch.mask, weighed, 0).sum() / jnp.maximum(batch.mask.sum(), 1)
        return mean, (sum_batch(losses, logits, batch.labels, batch.mask), losses)

    def train_step(key: Key[Array, ""], state: LearnerState, batch: Batch) -> tuple[LearnerState, StepInfo]:
        augment_key, dropout_key = jax.random.split(key)
        if augment is not None:
            image_keys = jax.random.split(augment_key, batch.mask.shape[0])
            batch = batch._replace(images=jax.vmap(augment)(image_keys, batch.images))
        gradient, (sums, losses) = jax.grad(mean_loss, has_aux=True)(state.parameters, dropout_key, batch)
        is_finite = jnp.isfinite(sums.loss) & jnp.isfinite(optax.tree.norm(gradient))

        def update(state: LearnerState) -> LearnerState:
            updates, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.parameters)
            updates = jax.tree.map(lambda leaf: leaf * state.learning_rate_scale, updates)
            parameters = optax.apply_updates(state.parameters, updates)
            return state._replace(parameters=parameters, optimizer_state=optimizer_state, step=state.step + 1)

        state = lax.cond(batch.mask.any() & is_finite, update, lambda state: state, state)
        return state, StepInfo(sums, losses, is_finite)

    def eval_step(parameters: PyTree, batch: Batch) -> Evaluation:
        logits = model.apply({"params": parameters}, batch.images)
        return Evaluation(logits, optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels))

    if test_time_augmentation == 0 or augment is None:
        return Learner(init, train_step, eval_step, eval_step, model.num_classes)
    change = augment

    def predict_step(parameters: PyTree, batch: Batch) -> Evaluation:
        def predict_augmented(number: Array) -> Array:
            key = jax.random.fold_in(jax.random.key(0), number)
            images = jax.vmap(change, in_axes=(None, 0))(key, batch.images)
            return jax.nn.log_softmax(eval_step(parameters, batch._replace(images=images)).logits)

        log_probabilities = lax.map(predict_augmented, jnp.arange(test_time_augmentation))
        logits = jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(test_time_augmentation)
        return Evaluation(logits, optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels))

    return Learner(init, train_step, eval_step, predict_step, model.num_classes)
