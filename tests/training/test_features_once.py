import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from medjax.models.parts import split_parts
from medjax.training.features_once import make_probe, map_shape
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from medjax.training.predict import predict
from tests.tiny import make_images, tiny_learner


def fixed_network():
    """The tiny network with features that do not depend on the key, as those of given weights."""
    network = tiny_learner(is_augmented=False).network
    features = network.init(jax.random.key(7), (8, 8, 1)).parameters["features"]

    def init(key, image_shape):
        drawn = network.init(key, image_shape)
        return drawn._replace(parameters={**drawn.parameters, "features": features})

    return dataclasses.replace(network, init=init)


def test_the_maps_are_those_of_each_image():
    network, (images, labels) = (
        fixed_network(),
        make_images(300),
    )  # more than a batch, and no whole number of them
    probe = make_probe(network, jnp.asarray(images), jnp.asarray(labels))
    assert probe.maps.images.shape == (300, *map_shape(network, (8, 8, 1)))
    parts = split_parts(network, (8, 8, 1), "--freeze features")
    variables = network.init(jax.random.key(0), (8, 8, 1))
    expected = parts.features(variables, jnp.asarray(images[-5:], jnp.float32) / 255)
    np.testing.assert_allclose(probe.maps.images[-5:], expected, rtol=1e-4, atol=1e-5)


def test_the_whole_network_answers_as_the_head_does_on_the_maps():
    network, (images, labels) = fixed_network(), make_images(50)
    probe = make_probe(network, jnp.asarray(images), jnp.asarray(labels))
    head = probe.network.init(jax.random.key(1), probe.maps.images.shape[1:])
    alone = predict(make_learner(probe.network, make_adam(1e-3)), head, probe.maps)
    whole = predict(make_learner(network, make_adam(1e-3)), probe.complete(head), (images, labels))
    np.testing.assert_allclose(alone.probabilities, whole.probabilities, rtol=1e-4, atol=1e-6)
