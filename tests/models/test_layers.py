import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.models.layers import PooledHead, batch_norm, conv, halve, is_small, require_dropout


def test_small_means_below_64_pixels_on_either_side():
    assert [is_small(jnp.zeros((1, *sides, 1))) for sides in ((63, 64), (64, 63), (64, 64))] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 9), (3, 2, 5), (7, 2, 5), (1, 2, 5)])
def test_convolutions_pad_both_sides_alike(kernel, stride, side):
    """An impulse in the middle of 9 pixels ends in the middle, as it does with PyTorch's padding for any stride."""
    image = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4].set(1.0)
    parameters = {
        "params": {"kernel": jnp.zeros((kernel, kernel, 1, 1)).at[kernel // 2, kernel // 2].set(1.0)}
    }
    found = conv(1, kernel, stride).apply(parameters, image)[0, ..., 0]
    assert found.shape == (side, side)
    assert np.argwhere(found).tolist() == [[side // 2, side // 2]]


def test_batch_norm_keeps_nine_tenths_of_its_averages_and_uses_them_in_evaluation():
    x = jax.random.normal(jax.random.key(0), (50, 2)) * 3 + 5
    start = {"params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}
    start["batch_stats"] = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    trained, changed = batch_norm(True).apply(start, x, mutable=["batch_stats"])
    np.testing.assert_allclose(trained.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["mean"], 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["var"], 0.9 + 0.1 * x.var(0), rtol=1e-4)
    np.testing.assert_allclose(batch_norm(False).apply(start, x), x / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_maps_are_halved_and_those_of_one_pixel_stay():
    maps = jnp.arange(25.0).reshape(1, 5, 5, 1)
    assert halve(maps)[0, ..., 0].tolist() == [[6, 8], [16, 18]]
    assert halve(maps, kind="average")[0, ..., 0].tolist() == [[3, 5], [13, 15]]
    assert halve(maps[:, :1])[0, ..., 0].tolist() == [[0, 1, 2, 3, 4]]


def test_the_head_takes_the_mean_of_each_map_and_drops_in_training_only():
    maps, head = jax.random.normal(jax.random.key(0), (2, 3, 4, 200)), PooledHead(3, dropout=0.5)
    variables = head.init(jax.random.key(1), maps)
    dense = variables["params"]["logits"]
    expected = np.asarray(maps).mean((1, 2)) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(head.apply(variables, maps), expected, atol=1e-6)
    trained = head.apply(variables, maps, is_training=True, rngs={"dropout": jax.random.key(2)})
    assert not np.allclose(trained, expected, atol=1e-3)


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), "a", None, True, [0.1]])
def test_what_is_no_fraction_is_refused(value):
    with pytest.raises(RefusedError, match=r"--model-set dropout: .* is no fraction"):
        require_dropout(value)
    assert require_dropout(0) == 0
