import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.training.batching import PADDING, pad_indices, shuffle_indices, take_batch


@pytest.mark.parametrize(("n", "batch_size", "padded"), [(1, 4, 4), (4, 4, 4), (5, 4, 8)])
def test_padding_fills_the_last_batch(n, batch_size, padded):
    indices = pad_indices(np.arange(n), batch_size)
    assert len(indices) == padded
    assert list(indices[:n]) == list(range(n))
    assert (indices[n:] == PADDING).all()


def test_shuffling_keeps_every_index_and_puts_padding_last():
    indices = jnp.array([7, PADDING, 3, 5, PADDING, 9])
    shuffled = shuffle_indices(jax.random.key(0), indices)
    assert sorted(shuffled[:4].tolist()) == [3, 5, 7, 9]
    assert (shuffled[4:] == PADDING).all()


def test_shuffling_depends_on_the_key_alone():
    indices = jnp.arange(100)
    first, again, other = (shuffle_indices(jax.random.key(seed), indices) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_place_is_as_likely():
    keys = jax.random.split(jax.random.key(0), 2000)
    places = np.asarray(jax.vmap(lambda key: shuffle_indices(key, jnp.arange(4)))(keys))
    counts = np.array([np.bincount(places[:, column], minlength=4) for column in range(4)])
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_a_batch_holds_its_images_in_zero_to_one():
    images = jnp.arange(6 * 4, dtype=jnp.uint8).reshape(6, 2, 2, 1)
    batch = take_batch(images, jnp.arange(6) * 10, jnp.array([4, 0, 5, PADDING]), jnp.array(1), 2)
    assert np.array_equal(batch.mask, [True, False])
    assert batch.labels[0] == 50
    np.testing.assert_allclose(batch.images[0], images[5] / 255)
    assert batch.images.dtype == jnp.float32
    deep = take_batch(
        images.astype(jnp.uint16) * 257, *(jnp.arange(6), jnp.array([4, 0, 5, PADDING]), jnp.array(1)), 2
    )
    np.testing.assert_allclose(deep.images, batch.images, rtol=1e-6)
