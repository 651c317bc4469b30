"""Optimizers by name, and any of Optax's through one training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.config import OptimizerName
from medjax.training.learner import make_learner
from medjax.training.optimizers import (
    adapt_optimizer,
    make_adam,
    make_optimizer,
    make_schedule,
    scale_features,
)
from tests.tiny import NUM_CLASSES, make_images, make_split

PARAMETERS = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
NO_GRADIENT = jax.tree.map(jnp.zeros_like, PARAMETERS)


def test_the_schedules_start_and_end_where_they_should():
    assert make_schedule("constant", 1e-3, 10) == 1e-3
    cosine, cycle = make_schedule("cosine", 1e-3, 100), make_schedule("one-cycle", 1e-3, 100)
    assert float(cosine(0)) == pytest.approx(1e-3)
    assert float(cosine(100)) == pytest.approx(0, abs=1e-9)
    assert float(cycle(0)) == pytest.approx(1e-3 / 25)
    assert float(cycle(30)) == pytest.approx(1e-3)
    assert float(cycle(100)) < 1e-6


def test_adam_is_optax_adam_with_the_epsilon_of_keras():
    ours, reference = make_adam(0.1), optax.adam(0.1, eps=1e-7)
    gradient = {"kernel": jnp.full((2, 3), 1e-6), "bias": jnp.arange(3.0)}
    updates = [each.update(gradient, each.init(PARAMETERS), PARAMETERS)[0] for each in (ours, reference)]
    jax.tree.map(np.testing.assert_array_equal, *updates)
    assert jax.tree.structure(ours.init(PARAMETERS)) == jax.tree.structure(reference.init(PARAMETERS))


@pytest.mark.parametrize("name", [name for name in OptimizerName.__args__ if name != "adam"])
def test_weight_decay_shrinks_kernels_and_leaves_biases(name):
    optimizer = make_optimizer(name, 0.1, weight_decay=0.01)
    updates, _ = optimizer.update(NO_GRADIENT, optimizer.init(PARAMETERS), PARAMETERS)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.01, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_clipping_bounds_the_global_norm():
    optimizer = make_optimizer("sgd", 1.0, clip_norm=0.5)
    gradient = {"kernel": jnp.full((2, 3), 100.0), "bias": jnp.full(3, 100.0)}
    updates, _ = optimizer.update(gradient, optimizer.init(PARAMETERS), PARAMETERS)
    assert float(optax.tree.norm(updates)) == pytest.approx(0.5 * 1.9, rel=1e-5)  # Nesterov: 1 + momentum


def test_the_slow_parameters_of_lookahead_follow_the_fast_ones():
    optimizer = adapt_optimizer(
        optax.lookahead(optax.sgd(1.0), sync_period=2, slow_step_size=0.5), PARAMETERS
    )
    state, parameters = optimizer.init(PARAMETERS), PARAMETERS
    gradient = jax.tree.map(jnp.ones_like, PARAMETERS)
    for expected in (0.0, 0.0):  # 1 - 1; then 1 - 2, and back half the way from the slow 1 to -1
        updates, state = optimizer.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        np.testing.assert_allclose(parameters["bias"], expected)


# A table of Optax's own kinds: masks, schedules, clipping, averages, and those that call back for the loss.
OPTIMIZERS = {
    "adamw, masked decay": lambda: optax.adamw(1e-2, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    "sgd, momentum": lambda: optax.sgd(1e-2, momentum=0.9),
    "schedule": lambda: optax.adam(optax.cosine_decay_schedule(1e-2, 100)),
    "injected hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=1e-2),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
    "ema of updates": lambda: optax.chain(optax.adam(1e-2), optax.ema(0.5)),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(1e-2), every_k_schedule=2),
    "lookahead": lambda: optax.lookahead(optax.adam(1e-2), sync_period=3, slow_step_size=0.5),
    "reduce_on_plateau": lambda: optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=2)),
    "lbfgs": lambda: optax.lbfgs(),
    "lamb": lambda: optax.lamb(1e-2),
    "lion": lambda: optax.lion(1e-3),
    "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(1e-2), 3),
    "partition": lambda: optax.partition(
        {"kernels": optax.adam(1e-2), "others": optax.sgd(1e-2)},
        lambda p: jax.tree.map(lambda x: "kernels" if x.ndim > 1 else "others", p),
    ),
    "sam": lambda: optax.contrib.sam(
        optax.sgd(1e-2), optax.chain(optax.contrib.normalize(), optax.sgd(1e-2))
    ),
    "schedule_free": lambda: optax.contrib.schedule_free_adamw(1e-2),
    "prodigy": lambda: optax.contrib.prodigy(1.0),
}


def linear_network():
    def init(key, image_shape):
        size = int(np.prod(image_shape))
        return {"kernel": 0.01 * jax.random.normal(key, (size, NUM_CLASSES)), "bias": jnp.zeros(NUM_CLASSES)}

    def apply(parameters, images):
        return images.reshape(len(images), -1) @ parameters["kernel"] + parameters["bias"]

    return init, apply


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_of_optax_trains(name):
    from medjax.training.fit import fit

    images, labels = make_images()
    learner = make_learner(linear_network(), OPTIMIZERS[name]())
    infos = [
        info for _, info in fit(learner, (images, labels), make_split(labels), num_epochs=3, batch_size=16)
    ]
    losses = [float(info.train.loss / info.train.num_images) for info in infos]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_features_take_a_part_of_each_update_and_the_state_is_the_same():
    parameters = {"features": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    gradient = jax.tree.map(lambda leaf: 0.5 * leaf, parameters)
    plain, slow, frozen = (
        scale_features(make_optimizer("sgd", 0.1, weight_decay=0.1), rate, "head")
        for rate in (1.0, 0.25, 0.0)
    )
    first, slower, none = (
        optimizer.update(gradient, optimizer.init(parameters), parameters)
        for optimizer in (plain, slow, frozen)
    )
    assert jnp.allclose(slower[0]["features"]["kernel"], 0.25 * first[0]["features"]["kernel"])
    assert (none[0]["features"]["kernel"] == 0).all()
    for updates, state in (slower, none):
        assert jnp.array_equal(updates["head"]["kernel"], first[0]["head"]["kernel"])
        assert jax.tree.structure(state) == jax.tree.structure(first[1])
