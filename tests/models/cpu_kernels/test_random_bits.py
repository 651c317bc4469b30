"""Random bits are those of JAX, to the last one."""

import jax
import pytest

from medjax.models.cpu_kernels.lowering import fast_convolutions

KEY = jax.random.key(7)
DRAWS = {
    "few": lambda key: jax.random.bits(key, (3, 5)),
    "one": lambda key: jax.random.bits(key, ()),
    "many": lambda key: jax.random.bits(key, (32, 128)),
    "in three axes": lambda key: jax.random.bits(key, (5, 100, 3)),
    "small rows": lambda key: jax.random.bits(key, (1024, 1)),
    "a row": lambda key: jax.random.permutation(key, 5001),
    "keys": lambda key: jax.random.split(key, 2000),
    "a key of a number": lambda key: jax.random.fold_in(key, 3),
    "by several keys": lambda key: jax.vmap(lambda key: jax.random.bits(key, (6, 7)))(
        jax.random.split(key, 4)
    ),
    "of bytes": lambda key: jax.random.bits(key, (33, 3), "uint8"),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_bits_are_those_of_the_library(draw):
    expected = jax.jit(draw)(KEY)
    with fast_convolutions():
        program = jax.jit(lambda key: draw(key))
        text = program.lower(KEY).as_text()
        found = program(KEY)
    assert "medjax_threefry" in text
    assert "while" not in text
    assert (found == expected).all()


def test_an_empty_array_is_left_to_the_library():
    with fast_convolutions():
        program = jax.jit(lambda key: jax.random.bits(key, (0, 4)))
        assert "medjax_threefry" not in program.lower(KEY).as_text()
        assert program(KEY).shape == (0, 4)
