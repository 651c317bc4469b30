"""The gradient of the weights by Winograd's way: see also `test_winograd`."""

import jax
import numpy as np

from medjax.models.cpu_kernels.register_tiles import Window
from medjax.models.cpu_kernels.weight_gradient import weight_gradient


def test_outputs_beyond_the_last_row_and_column_count_nothing():
    random = np.random.default_rng(12)
    images = random.normal(size=(3, 5, 7, 16)).astype(np.float32)
    gradients = np.ones((3, 3, 5, 16), np.float32)
    found = jax.jit(lambda *arrays: weight_gradient(*arrays, (3, 3), Window((1, 1), (1, 1))))(
        images, gradients
    )
    for y in range(3):
        for x in range(3):
            wanted = images[:, y : y + 3, x : x + 5].astype(np.float64).sum((0, 1, 2))
            np.testing.assert_allclose(found[y, x], np.repeat(wanted[:, None], 16, 1), rtol=1e-4, atol=1e-4)
