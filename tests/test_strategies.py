import jax
import jax.numpy as jnp
import numpy as np

from medjax.training.strategies import loop, select_fold


def test_each_fold_gets_its_slice_and_shares_the_rest():
    def one_fold(shared, scale, state):
        return {"sum": shared + scale * state["x"]}

    states = {"x": jnp.arange(6.0).reshape(3, 2)}
    result = loop(one_fold, num_shared=1)(jnp.array([10.0, 20.0]), jnp.array([1.0, 2.0, 3.0]), states)
    np.testing.assert_allclose(result["sum"], [[10, 21], [14, 26], [22, 35]])


def test_it_compiles_once_for_all_folds():
    traces = []

    def one_fold(state):
        traces.append(1)
        return state + 1

    loop(one_fold, num_shared=0)(jnp.zeros((5, 2)))
    assert len(traces) == 1


def test_donating_spares_the_callers_arrays():
    states = jnp.arange(4.0).reshape(2, 2)
    loop(lambda state: state + 1, num_shared=0, donate=(0,))(states)
    assert jax.block_until_ready(states).sum() == 6


def test_a_fold_is_its_slice_of_every_leaf():
    tree = {"a": jnp.arange(6).reshape(3, 2), "b": jnp.arange(3)}
    chosen = select_fold(tree, 1)
    assert chosen["a"].tolist() == [2, 3]
    assert chosen["b"] == 1
