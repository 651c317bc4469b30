"""The report's network against the same network in stock Flax layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from medjax.models.cnn import CNN


class Reference(nn.Module):
    """As the report writes it: conv 3×3×32, ReLU, pool, conv 3×3×64, ReLU, pool, flatten, dense 128, dense 6."""

    @nn.compact
    def __call__(self, images):
        for features in (32, 64):
            images = nn.relu(nn.Conv(features, (3, 3), padding="VALID")(images))
            images = nn.max_pool(images, (2, 2), strides=(2, 2))
        hidden = nn.relu(nn.Dense(128)(images.reshape(len(images), -1)))
        return nn.Dense(6)(hidden)


def as_reference(parameters):
    features, head = parameters["features"], parameters["head"]
    return {
        "Conv_0": features["block_0"],
        "Conv_1": features["block_1"],
        "Dense_0": head["hidden"],
        "Dense_1": head["logits"],
    }


@pytest.fixture(scope="module")
def setting():
    image_key, init_key, bias_key = jax.random.split(jax.random.key(0), 3)
    images = jax.random.uniform(image_key, (8, 28, 28, 1))
    parameters = jax.jit(CNN(6).init)(init_key, images)["params"]
    parameters = jax.tree.map(lambda leaf: leaf + 0.01 * jax.random.normal(bias_key, leaf.shape), parameters)
    return images, jnp.arange(8) % 6, parameters


def test_logits_are_the_references(setting):
    images, _, parameters = setting
    ours = CNN(6).apply({"params": parameters}, images)
    theirs = Reference().apply({"params": as_reference(parameters)}, images)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_gradients_are_the_references(setting):
    images, labels, parameters = setting

    def loss(model, parameters):
        logits = model.apply({"params": parameters}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    ours = as_reference(jax.grad(loss, argnums=1)(CNN(6), parameters))
    theirs = jax.grad(loss, argnums=1)(Reference(), as_reference(parameters))
    jax.tree.map(lambda mine, other: np.testing.assert_allclose(mine, other, atol=1e-6), ours, theirs)


def test_it_has_the_reports_number_of_parameters(setting):
    assert sum(leaf.size for leaf in jax.tree.leaves(setting[2])) == 224_518


def test_weights_start_as_keras_starts_them():
    parameters = jax.jit(CNN(6).init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    kernel = parameters["features"]["block_1"]["kernel"]
    limit = np.sqrt(6 / (3 * 3 * 32 + 3 * 3 * 64))  # Glorot and Bengio, 2010
    assert limit * 0.99 < np.abs(kernel).max() <= limit
    assert not parameters["head"]["hidden"]["bias"].any()


def test_dropout_acts_in_training_only(setting):
    images, _, parameters = setting
    model = CNN(6, dropout=0.5)

    def apply(seed):
        return model.apply(
            {"params": parameters}, images, is_training=True, rngs={"dropout": jax.random.key(seed)}
        )

    assert not np.array_equal(apply(0), apply(1))
    assert np.array_equal(apply(0), apply(0))
    assert np.array_equal(
        model.apply({"params": parameters}, images), CNN(6, dropout=0.0).apply({"params": parameters}, images)
    )


def test_it_has_a_features_and_a_head_part(setting):
    images, _, parameters = setting
    bound = CNN(6).bind({"params": parameters})
    features = bound.features(images)
    assert features.shape == (8, 5, 5, 64)
    assert np.array_equal(bound.head(features), bound(images))


def test_without_a_hidden_layer_it_is_the_articles_network():
    model = CNN(6, hidden_units=0)
    parameters = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))["params"]
    assert set(parameters["head"]) == {"logits"}
    assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) == 32_646


def test_a_centred_network_is_the_plain_one_on_pixels_from_minus_2_to_2(setting):
    images, _, parameters = setting
    centred = CNN(6, centre=True).apply({"params": parameters}, images)
    assert np.array_equal(centred, CNN(6).apply({"params": parameters}, 4 * images - 2))
