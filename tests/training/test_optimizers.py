import jax.numpy as jnp
import numpy as np
import optax

from medjax.training.optimizers import make_adam


def test_adam_is_the_papers():
    gradients = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    optimizer = make_adam(1e-2)
    parameters = jnp.zeros(3)
    state = optimizer.init(parameters)
    expected, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    for step, gradient in enumerate(gradients, 1):
        updates, state = optimizer.update(jnp.asarray(gradient), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected -= 1e-2 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-7)
    np.testing.assert_allclose(parameters, expected, rtol=1e-4)
