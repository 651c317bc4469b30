"""Optimizers from plain numbers."""

import optax


def make_adam(learning_rate: float) -> optax.GradientTransformation:
    """Adam at a constant rate, with the moments' decays and the epsilon of Keras, which the report used.

    Reference: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, https://arxiv.org/abs/1412.6980.
    """
    return optax.adam(learning_rate, b1=0.9, b2=0.999, eps=1e-7)
