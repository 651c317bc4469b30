"""A learner: pure functions that make a state, improve it by one batch, and apply it. Nothing here is jitted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int32, Key, PyTree

from medjax.errors import counted, refuse
from medjax.metrics import Sums, sum_batch
from medjax.models.as_network import as_network
from medjax.models.fused_layers import fuse_layers
from medjax.models.network import Apply, Network, Variables, in_bfloat16
from medjax.training.augment import Augment
from medjax.training.batching import Batch
from medjax.training.compilation import EXACT, Numerics, make_numerics
from medjax.training.losses import Loss, binary_cross_entropy, cross_entropy, of_images, score_images
from medjax.training.optimizers import adapt_optimizer

Mix = Callable[
    [Key[Array, ""], Float[Array, "batch height width channel"]], Float[Array, "batch height width channel"]
]


class LearnerState(NamedTuple):
    """What the next step needs."""

    parameters: PyTree[Float32[Array, "..."]]
    network_state: PyTree  # what the network itself changes, such as batch statistics; an empty dict for none
    optimizer_state: optax.OptState
    averaged: Any  # `Variables`, the exponential moving average over steps; an empty tuple for none
    step: Int32[Array, "*fold"]  # steps taken
    # Factor on every update; 1 until a plateau lowers it. It does not suit optimizers that keep parameters of their own,
    # as `optax.lookahead` does: they take their update for the whole one.
    learning_rate_scale: Float32[Array, "*fold"]

    @property
    def variables(self) -> Variables:
        """What predictions are made with: the moving average, if there is one."""
        is_averaged = isinstance(self.averaged, Variables)
        return self.averaged if is_averaged else Variables(self.parameters, self.network_state)


class StepInfo(NamedTuple):
    """What a person needs to know of a step."""

    sums: Sums  # over the batch as trained on: augmented, with dropout
    losses: Float32[Array, "batch"]  # of each image, as trained on; of no meaning where there is none
    is_finite: Bool[Array, ""]  # loss and gradient; where false the state was left as it was


class Evaluation(NamedTuple):
    """What a network says of a batch."""

    logits: Float32[Array, "batch class"]
    losses: Float32[
        Array, "batch"
    ]  # cross-entropy in nats, whatever loss is trained on; of several labels their mean


class Learner(NamedTuple):
    """The functions a training loop calls."""

    init: Callable[[Key[Array, ""], tuple[int, ...]], LearnerState]
    train_step: Callable[[Key[Array, ""], LearnerState, Batch], tuple[LearnerState, StepInfo]]
    eval_step: Callable[[Variables, Batch], Evaluation]
    predict_step: Callable[
        [Variables, Batch], Evaluation
    ]  # as eval_step, averaged over test-time augmentations
    network: Network
    numerics: Numerics = EXACT  # with which its programs are compiled
    several_labels: bool = False  # an image may have several labels: each logit is that of a label alone


def make_learner(
    model: Any,
    optimizer: Any,
    *,
    augment: Augment | None = None,
    mix: Mix | None = None,
    loss: Loss | None = None,
    test_time_augmentation: int = 0,
    ema_decay: float = 0.0,
    compute: str = "f32",
    deterministic: bool = True,
    several_labels: bool = False,
) -> Learner:
    """A learner that trains `model`, of any kind that `medjax.as_network` takes, by any Optax optimizer.

    `train_step` divides the loss, weighted where the batch has weights, by the number of real images. A batch without
    any, or whose loss or gradient is not finite, leaves the state as it was, the optimizer's moments and the batch
    statistics included. `loss` gives one loss an image, by default `cross_entropy`; evaluation always reports the
    cross-entropy. `augment` changes one training image at random, `mix` then the images of a batch together, as `mix_batch`
    does.

    With `several_labels` the labels of an image are a row of 1, 0 and -1 (not known), and its logits are turned into
    probabilities one by one, by a sigmoid. `loss`, by default `binary_cross_entropy`, gives one loss for each label; that of
    an image is the mean over its known labels.

    With `ema_decay` (0 to below 1), predictions are made with an exponential moving average of the network's variables.
    `predict_step` averages the probabilities over `test_time_augmentation` fixed augmentations, the same for every
    image. With 0 of them, or without `augment`, it is `eval_step`.

    `compute` is the arithmetic of the network: "f32"; "tf32", float32 with the factors of products rounded to TF32 where
    the device has it; or "bf16", with parameters and images rounded to bfloat16 before each call, while parameters,
    the network's state and losses stay float32. `deterministic` asks a GPU for the same bits each time.
    """
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        raise refuse(
            "optimizer", f"is a {type(optimizer).__name__}", "give an Optax optimizer, as optax.adam(1e-3)"
        )
    if not 0 <= ema_decay < 1:
        raise refuse("ema_decay", f"is {ema_decay}", "give 0 for none, or a number below 1")
    if test_time_augmentation < 0:
        raise refuse("test_time_augmentation", f"is {test_time_augmentation}", "give 0 for none, or more")
    loss = loss or (binary_cross_entropy if several_labels else cross_entropy)
    numerics = make_numerics(compute, deterministic=deterministic)
    network = as_network(model)
    apply = fuse_layers(in_bfloat16(network.apply) if compute == "bf16" else network.apply)
    init = _make_init(network, optimizer, has_average=ema_decay > 0)
    train_step = _make_train_step(apply, optimizer, augment, mix, loss, ema_decay)
    eval_step = _make_eval_step(apply)
    if test_time_augmentation == 0 or augment is None:
        return Learner(init, train_step, eval_step, eval_step, network, numerics, several_labels)
    predict_step = _make_augmented_step(eval_step, augment, test_time_augmentation)
    return Learner(init, train_step, eval_step, predict_step, network, numerics, several_labels)


def _make_init(
    network: Network, optimizer: Any, *, has_average: bool
) -> Callable[[Key[Array, ""], tuple[int, ...]], LearnerState]:
    def init(key: Key[Array, ""], image_shape: tuple[int, ...]) -> LearnerState:
        variables = network.init(key, image_shape)
        optimizer_state = adapt_optimizer(optimizer, variables.parameters).init(variables.parameters)
        return LearnerState(
            *variables,
            optimizer_state=jax.tree.map(_without_weak_type, optimizer_state),
            # A copy, because both are donated to the first step.
            averaged=jax.tree.map(jnp.copy, variables) if has_average else (),
            step=jnp.zeros((), jnp.int32),
            learning_rate_scale=jnp.ones((), jnp.float32),
        )

    return init


def _without_weak_type(leaf: Any) -> Any:
    """A weakly typed number, as `optax.lbfgs` starts with, would change its type in the first step: compiled twice."""
    return leaf.astype(leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def _make_train_step(
    apply: Apply, optimizer: Any, augment: Augment | None, mix: Mix | None, loss: Loss, ema_decay: float
) -> Callable[[Key[Array, ""], LearnerState, Batch], tuple[LearnerState, StepInfo]]:
    def mean_loss(
        parameters: PyTree, network_state: PyTree, key: Key[Array, ""], batch: Batch
    ) -> tuple[Array, tuple[Sums, Array, PyTree]]:
        variables = Variables(parameters, network_state)
        logits, network_state = apply(variables, batch.images, is_training=True, key=key)
        logits = logits.astype(jnp.float32)
        losses = loss(logits, batch.labels)
        if losses.shape != batch.labels.shape:
            raise refuse(
                "loss",
                f"returned shape {losses.shape} for {counted(len(logits), 'image')}",
                "return one loss an image, or one for each of its several labels",
            )
        weighted = of_images(losses if batch.weights is None else losses * batch.weights, batch.labels)
        mean = jnp.where(batch.mask, weighted, 0).sum() / jnp.maximum(batch.mask.sum(), 1)
        losses = of_images(losses, batch.labels)
        return mean, (sum_batch(losses, logits, batch.labels, batch.mask), losses, network_state)

    def train_step(key: Key[Array, ""], state: LearnerState, batch: Batch) -> tuple[LearnerState, StepInfo]:
        augment_key, dropout_key = jax.random.split(key)
        if augment is not None:
            image_keys = jax.random.split(augment_key, batch.mask.shape[0])
            # Else XLA would join the warp to what the network computes first, which makes a step of `fast` a tenth longer.
            images = lax.optimization_barrier(jax.vmap(augment)(image_keys, batch.images))
            batch = batch._replace(images=images)
        if mix is not None:
            # Beyond the numbers of the images' keys.
            mix_key = jax.random.fold_in(augment_key, batch.mask.shape[0])
            batch = batch._replace(images=mix(mix_key, batch.images))
        (value, (sums, losses, network_state)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
            state.parameters, state.network_state, dropout_key, batch
        )
        is_finite = (
            jnp.isfinite(sums.loss) & jnp.isfinite(optax.tree.norm(gradient)) & _all_finite(network_state)
        )

        def update(state: LearnerState) -> LearnerState:
            updates, optimizer_state = adapt_optimizer(optimizer, state.parameters).update(
                gradient,
                state.optimizer_state,
                state.parameters,
                # For those that search along a line or follow the loss; the others ignore them.
                value=value,
                grad=gradient,
                value_fn=lambda parameters: mean_loss(parameters, state.network_state, dropout_key, batch)[0],
            )
            updates = jax.tree.map(lambda leaf: leaf * state.learning_rate_scale, updates)
            updated = state._replace(
                parameters=optax.apply_updates(state.parameters, updates),
                network_state=network_state,
                optimizer_state=optimizer_state,
                step=state.step + 1,
            )
            return updated._replace(averaged=_average(state, updated, ema_decay)) if ema_decay else updated

        return _update_where(batch.mask.any() & is_finite, update, state), StepInfo(sums, losses, is_finite)

    return train_step


def _update_where(
    condition: Bool[Array, ""], update: Callable[[LearnerState], LearnerState], state: LearnerState
) -> LearnerState:
    """The updated state where the condition holds, else the state as it was.

    A branch ends a GPU's chain of operations, and selecting costs a CPU more than a branch, so each has its own way.
    """

    def select(state: LearnerState) -> LearnerState:
        return jax.tree.map(lambda new, old: jnp.where(condition, new, old), update(state), state)

    def branch(state: LearnerState) -> LearnerState:
        return lax.cond(condition, update, lambda state: state, state)

    return lax.platform_dependent(state, cpu=branch, default=select)


def _all_finite(state: PyTree) -> Bool[Array, ""]:
    """Whether a network's own state is finite, as its loss can be without it: batch statistics count later."""
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.array([jnp.isfinite(leaf).all() for leaf in floats], bool).all()


def _average(before: LearnerState, after: LearnerState, decay: float) -> Variables:
    """The moving average after a step. Its decay grows over the first steps, so that the start is soon forgotten."""
    steps = after.step.astype(jnp.float32)
    step_size = 1 - jnp.minimum(decay, (1 + steps) / (10 + steps))

    def move(new: Array, old: Array) -> Array:
        is_float = jnp.issubdtype(new.dtype, jnp.floating)
        return (old + step_size * (new - old)).astype(new.dtype) if is_float else new

    return jax.tree.map(move, Variables(after.parameters, after.network_state), before.averaged)


def _make_eval_step(apply: Apply) -> Callable[[Variables, Batch], Evaluation]:
    def eval_step(variables: Variables, batch: Batch) -> Evaluation:
        # A constant key: a network that draws at random even when it is not trained gives the same answer each time.
        key = jax.random.key(0)
        logits, _ = apply(variables, batch.images, is_training=False, key=key)
        logits = logits.astype(jnp.float32)
        return Evaluation(logits, score_images(logits, batch.labels))

    return eval_step


def _make_augmented_step(
    eval_step: Callable[[Variables, Batch], Evaluation], augment: Augment, count: int
) -> Callable[[Variables, Batch], Evaluation]:
    def predict_step(variables: Variables, batch: Batch) -> Evaluation:
        def predict_augmented(number: Array) -> Array:
            key = jax.random.fold_in(jax.random.key(0), number)
            images = jax.vmap(augment, in_axes=(None, 0))(key, batch.images)
            logits = eval_step(variables, batch._replace(images=images)).logits
            if batch.labels.ndim == 1:
                return jax.nn.log_softmax(logits)
            return jnp.stack([jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)])

        log_probabilities = lax.map(predict_augmented, jnp.arange(count))
        logits = jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(count)
        if batch.labels.ndim == 2:
            logits = logits[0] - logits[1]  # of the label and of its absence
        return Evaluation(logits, score_images(logits, batch.labels))

    return predict_step
