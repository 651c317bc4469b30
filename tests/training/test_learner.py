"""One step: what it must change, and what it must leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import RefusedError
from medjax.models.cnn import CNN
from medjax.models.network import Variables
from medjax.training.batching import Batch
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from tests.tiny import make_images, tiny_learner

KEY = jax.random.key(3)


def make_batch(n, mask=None):
    images, labels = (part[:n] for part in make_images())
    mask = np.ones(n, bool) if mask is None else mask
    return Batch(jnp.asarray(images / 255, jnp.float32), jnp.asarray(labels), jnp.asarray(mask))


def trained_a_little(learner, steps=3):
    """A state with moments that are not zero: Adam then moves even at zero gradient."""
    state = learner.init(jax.random.key(0), (8, 8, 1))
    step = jax.jit(learner.train_step)
    for index in range(steps):
        state, _ = step(jax.random.key(index), state, make_batch(16))
    return state


def assert_same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def learner():
    return tiny_learner()


def test_a_step_moves_every_parameter_and_counts(learner):
    before = trained_a_little(learner)
    after, info = jax.jit(learner.train_step)(KEY, before, make_batch(16))
    assert after.step == before.step + 1
    assert info.is_finite
    assert info.sums.num_images == 16
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.parameters, after.parameters)
    assert all(jax.tree.leaves(moved))


def test_a_batch_of_padding_leaves_everything_untouched(learner):
    before = trained_a_little(learner)
    after, info = jax.jit(learner.train_step)(KEY, before, make_batch(16, np.zeros(16, bool)))
    assert_same(before, after)
    assert info.sums.num_images == 0


def test_adam_would_move_at_zero_gradient(learner):
    # What the test above guards against: without the guard a zero gradient still moves the parameters.
    state = trained_a_little(learner)
    nothing = jax.tree.map(jnp.zeros_like, state.parameters)
    updates, _ = make_adam(1e-2).update(nothing, state.optimizer_state, state.parameters)
    assert optax.tree.norm(updates) > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_leaves_everything_untouched_and_is_told(learner, bad):
    before = trained_a_little(learner)
    batch = make_batch(16)
    batch = batch._replace(images=batch.images.at[5].set(bad))
    after, info = jax.jit(learner.train_step)(KEY, before, batch)
    assert_same(before, after)
    assert not info.is_finite


def test_a_network_state_that_is_not_finite_leaves_everything_untouched_and_is_told():
    def init(key, image_shape):
        return Variables({"bias": jnp.zeros(2)}, {"seen": jnp.zeros(())})

    def apply(variables, images):
        logits = jnp.broadcast_to(variables.parameters["bias"], (len(images), 2))
        return logits, {"seen": variables.state["seen"] + images.mean() / 0}

    learner = make_learner((init, apply), optax.sgd(0.1))
    before = learner.init(KEY, (8, 8, 1))
    after, info = jax.jit(learner.train_step)(KEY, before, make_batch(16))
    assert_same(before, after)
    assert not info.is_finite


def test_padding_rows_do_not_matter_and_the_loss_is_divided_by_real_images():
    learner = tiny_learner(dropout=0.0, is_augmented=False)
    state = trained_a_little(learner)
    alone, _ = jax.jit(learner.train_step)(KEY, state, make_batch(10))
    whole = make_batch(16, np.arange(16) < 10)
    noise = jax.random.uniform(KEY, whole.images.shape)
    images = jnp.where(whole.mask[:, None, None, None], whole.images, noise)
    padded, _ = jax.jit(learner.train_step)(KEY, state, whole._replace(images=images))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), alone, padded)


@pytest.mark.parametrize("n", [5, 32, 37, 96])
def test_a_step_is_adam_on_the_mean_gradient_whatever_the_batch_size(n):
    learner = tiny_learner(dropout=0.0, is_augmented=False)
    state = trained_a_little(learner)
    batch = make_batch(n)
    after, info = jax.jit(learner.train_step)(KEY, state, batch)

    def mean_loss(parameters):
        return learner.eval_step(Variables(parameters, {}), batch).losses.mean()

    loss, gradient = jax.value_and_grad(mean_loss)(state.parameters)
    updates, _ = make_adam(1e-2).update(gradient, state.optimizer_state, state.parameters)
    expected = optax.apply_updates(state.parameters, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.parameters, expected)
    assert float(info.sums.loss) / n == pytest.approx(float(loss), rel=1e-5)


def test_the_learning_rate_scale_multiplies_the_update():
    learner = tiny_learner(dropout=0.0, is_augmented=False)
    state = trained_a_little(learner)
    step = jax.jit(learner.train_step)
    full, _ = step(KEY, state, make_batch(16))
    half, _ = step(KEY, state._replace(learning_rate_scale=jnp.float32(0.5)), make_batch(16))
    jax.tree.map(
        lambda start, a, b: np.testing.assert_allclose(b - start, (a - start) / 2, atol=1e-7),
        state.parameters,
        full.parameters,
        half.parameters,
    )


def test_augmentation_changes_training_and_not_evaluation():
    def brighten(key, image):
        return image + 1.0

    plain = tiny_learner(dropout=0.0, is_augmented=False)
    model = CNN(2, dropout=0.0, block_features=(4,), hidden_units=8)
    bright = make_learner(model, make_adam(1e-2), augment=brighten)
    state, batch = trained_a_little(plain), make_batch(16)
    losses = [jax.jit(each.train_step)(KEY, state, batch)[1].sums.loss for each in (plain, bright)]
    assert losses[0] != losses[1]
    assert_same(plain.eval_step(state.variables, batch), bright.eval_step(state.variables, batch))


def test_the_key_alone_decides_augmentation_and_dropout(learner):
    state = trained_a_little(learner)
    step = jax.jit(learner.train_step)
    first, again, other = (step(jax.random.key(seed), state, make_batch(16))[0] for seed in (0, 0, 1))
    assert_same(first, again)
    assert not np.array_equal(
        first.parameters["head"]["logits"]["bias"], other.parameters["head"]["logits"]["bias"]
    )


def test_an_answer_over_views_is_the_mean_of_the_probabilities_over_changed_images():
    def shade(key, image):
        return image * jax.random.uniform(key)

    model = CNN(2, dropout=0.0, block_features=(4,), hidden_units=8)
    learner = make_learner(model, make_adam(1e-2), augment=shade, test_time_augmentation=3)
    state, batch = trained_a_little(learner), make_batch(6)
    shades = [jax.random.uniform(jax.random.fold_in(jax.random.key(0), view)) for view in range(3)]
    changed = [batch._replace(images=batch.images * each) for each in shades]
    answers = [jax.nn.softmax(learner.eval_step(state.variables, each).logits) for each in changed]
    answer = jax.jit(learner.predict_step)(state.variables, batch)
    expected = sum(answers) / 3
    np.testing.assert_allclose(jax.nn.softmax(answer.logits), expected, rtol=1e-5)
    np.testing.assert_allclose(
        answer.losses, -np.log(expected[np.arange(6), np.asarray(batch.labels)]), rtol=1e-4
    )
    assert not np.allclose(answers[0], answers[1], atol=1e-4)
    alone = jax.jit(learner.predict_step)(state.variables, jax.tree.map(lambda leaf: leaf[2:3], batch))
    np.testing.assert_allclose(alone.logits[0], answer.logits[2], rtol=1e-5)  # whatever lies beside it


def test_without_views_an_answer_is_of_the_image_as_it_is(learner):
    assert learner.predict_step is learner.eval_step


def test_no_leaf_of_a_state_is_weakly_typed():
    learner = make_learner(CNN(2, block_features=(4,), hidden_units=8), optax.lbfgs())
    state = learner.init(jax.random.key(0), (8, 8, 1))
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.weak_type]


@pytest.mark.parametrize(
    "options", [{"ema_decay": 1.0}, {"test_time_augmentation": -1}, {"compute": "float16"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(RefusedError, match=f"{next(iter(options))}: is "):
        make_learner(CNN(2), optax.adam(1e-3), **options)


def test_mixing_changes_the_images_of_a_training_step_alone_and_keeps_augmentation_as_it_was():
    seen = []

    def mix(key, images):
        seen.append(images)
        return images[::-1] * 0.5

    def learner_with(mix):
        network = CNN(2, dropout=0.0, block_features=(4,), hidden_units=8)
        return make_learner(network, optax.sgd(0.1), augment=lambda key, image: image * 0.5, mix=mix)

    mixed, plain = learner_with(mix), learner_with(None)
    state = plain.init(jax.random.key(0), (8, 8, 1))
    batch = make_batch(8)
    after, _ = mixed.train_step(KEY, state, batch)
    np.testing.assert_array_equal(seen[0], batch.images * 0.5)
    expected, _ = plain.train_step(KEY, state, batch._replace(images=batch.images[::-1] * 0.5))
    assert_same(after, expected)
    variables = state.variables
    np.testing.assert_array_equal(
        mixed.eval_step(variables, batch).logits, plain.eval_step(variables, batch).logits
    )


def several_labels_batch(n=6):
    batch = make_batch(n)
    upright = np.asarray(batch.labels)
    return batch._replace(labels=jnp.asarray(np.stack([upright, np.where(upright == 1, -1, 1)], axis=1)))


def test_of_several_labels_one_that_is_not_known_has_no_gradient():
    model = CNN(2, dropout=0.0, block_features=(4,), hidden_units=8)
    learner = make_learner(model, optax.sgd(0.1), several_labels=True)
    before = learner.init(KEY, (8, 8, 1))
    batch = several_labels_batch()
    unknown = batch._replace(labels=batch.labels.at[:, 1].set(-1))
    after, info = jax.jit(learner.train_step)(KEY, before, unknown)
    moved = [np.asarray(state.parameters["head"]["logits"]["bias"]) for state in (before, after)]
    assert moved[0][1] == moved[1][1]
    assert moved[0][0] != moved[1][0]
    assert info.sums.confusion.sum() == 6  # pairs of an image and a known label
    weighted = batch._replace(weights=jnp.ones((6, 2)).at[:, 1].set(0))
    halves = jax.jit(learner.train_step)(KEY, before, weighted)[0]
    assert halves.parameters["head"]["logits"]["bias"][1] == moved[0][1]


def test_of_several_labels_an_answer_over_views_is_the_mean_of_their_sigmoids():
    def shade(key, image):
        return image * jax.random.uniform(key)

    model = CNN(2, dropout=0.0, block_features=(4,), hidden_units=8)
    learner = make_learner(
        model, make_adam(1e-2), augment=shade, test_time_augmentation=3, several_labels=True
    )
    state, batch = learner.init(KEY, (8, 8, 1)), several_labels_batch()
    shades = [jax.random.uniform(jax.random.fold_in(jax.random.key(0), view)) for view in range(3)]
    changed = [batch._replace(images=batch.images * each) for each in shades]
    answers = [jax.nn.sigmoid(learner.eval_step(state.variables, each).logits) for each in changed]
    answer = jax.jit(learner.predict_step)(state.variables, batch)
    np.testing.assert_allclose(jax.nn.sigmoid(answer.logits), sum(answers) / 3, rtol=1e-5)


def test_under_bfloat16_the_network_computes_in_it_and_all_that_is_kept_is_float32():
    seen = []

    def apply(parameters, images):
        seen.append((parameters["weights"].dtype, images.dtype))
        return images.reshape(len(images), -1) @ parameters["weights"]

    network = (lambda key, shape: {"weights": jnp.ones((64, 2)) / 3}), apply
    learners = [make_learner(network, make_adam(1e-2), compute=compute) for compute in ("f32", "bf16")]
    state = learners[0].init(KEY, (8, 8, 1))
    (expected, _), (after, info) = (
        jax.jit(learner.train_step)(KEY, state, make_batch(16)) for learner in learners
    )
    assert seen[-1] == (jnp.bfloat16, jnp.bfloat16)
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves((after, info.losses, info.sums.loss))}
    assert kinds == {"float32", "int32"}
    moved = expected.parameters["weights"] - state.parameters["weights"]
    np.testing.assert_allclose(after.parameters["weights"] - state.parameters["weights"], moved, rtol=0.05)
    evaluation = jax.jit(learners[1].eval_step)(after.variables, make_batch(16))
    assert evaluation.logits.dtype == evaluation.losses.dtype == jnp.float32
