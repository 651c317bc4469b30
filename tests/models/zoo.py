"""What the tests of published networks ask of each; by shapes alone, which costs no computing."""

import jax
import jax.numpy as jnp

from medjax.models.as_network import as_network
from medjax.models.network import abstract_variables


def count_parameters(module, image_shape):
    variables = abstract_variables(as_network(module), image_shape)
    return sum(leaf.size for leaf in jax.tree.leaves(variables.parameters))


def feature_shape(module, image_shape):
    """Of one image; both parts of the module must have been run."""
    variables = abstract_variables(as_network(module), image_shape)
    collections = {"params": variables.parameters, **variables.state}

    def run(collections, images):
        features = module.apply(collections, images, method=lambda parts, images: parts.features(images))
        logits = module.apply(collections, features, method=lambda parts, features: parts.head(features))
        return features, logits

    features, logits = jax.eval_shape(run, collections, jnp.zeros((1, *image_shape)))
    assert logits.ndim == 2
    return features.shape[1:]
