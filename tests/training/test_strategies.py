"""Every strategy lifts a function of one fold to all folds, and trains to the same numbers."""

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.training import strategies
from medjax.training.strategies import (
    STRATEGIES,
    Loop,
    abstract_arrays,
    loop,
    put_on_devices,
    select_fold,
    stack_folds,
)


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_fold_gets_its_slice_and_shares_the_rest(name):
    def one_fold(shared, scale, state):
        return {"sum": shared + scale * state["x"]}

    states = {"x": jnp.arange(6.0).reshape(3, 2)}
    lifted = STRATEGIES[name](one_fold, num_shared=1)
    result = lifted(jnp.array([10.0, 20.0]), jnp.array([1.0, 2.0, 3.0]), states)
    np.testing.assert_allclose(result["sum"], [[10, 21], [14, 26], [22, 35]])


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_is_traced_once_whatever_the_number_of_calls(name):
    traces = []

    def one_fold(state):
        traces.append(1)
        return state + 1

    lifted = STRATEGIES[name](one_fold, num_shared=0)
    state = put_on_devices(name, jnp.zeros((5, 2)))
    for _ in range(3):
        state = lifted(state)
    assert state.tolist() == [[3, 3]] * 5
    assert len(traces) == 1


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("num_folds", [1, 3])
def test_what_is_lowered_for_shapes_is_what_the_arrays_then_run(name, num_folds):
    def one_fold(shared, state):
        return shared * state

    lifted = STRATEGIES[name](one_fold, num_shared=1)
    arrays = put_on_devices(name, (np.arange(7, dtype=np.float32), np.ones((num_folds, 7), np.float32)))
    lifted.lower(*abstract_arrays(name, arrays)).compile()
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, fun_name="", **__: compiled.append(fun_name) if "backend_compile" in event else None
    )
    assert lifted(*arrays).tolist() == [[0, 1, 2, 3, 4, 5, 6]] * num_folds
    assert not any("fold" in name for name in compiled)


def test_donating_under_loop_spares_the_callers_arrays():
    states = jnp.arange(4.0).reshape(2, 2)
    loop(lambda state: state + 1, num_shared=0, donate=(0,))(states)
    assert jax.block_until_ready(states).sum() == 6


def test_a_fold_is_its_slice_of_every_leaf_and_stacking_is_the_inverse():
    tree = {"a": jnp.arange(6).reshape(3, 2), "b": jnp.arange(3)}
    chosen = select_fold(tree, 1)
    assert chosen["a"].tolist() == [2, 3]
    assert chosen["b"] == 1
    stacked = stack_folds([select_fold(tree, fold) for fold in range(3)])
    jax.tree.map(np.testing.assert_array_equal, stacked, tree)


def test_threads_give_the_bits_of_a_loop(monkeypatch):
    monkeypatch.setattr(strategies, "count_cores", lambda: 2)

    def one_fold(matrix):
        return jax.lax.fori_loop(0, 5, lambda _, matrix: jnp.tanh(matrix @ matrix), matrix)

    matrices = jnp.asarray(np.random.default_rng(5).normal(size=(5, 40, 40)).astype(np.float32))
    threaded = STRATEGIES["threads"](one_fold, num_shared=0)
    for _ in range(2):  # the first call begins with one fold alone
        np.testing.assert_array_equal(threaded(matrices), loop(one_fold, num_shared=0)(matrices))


def test_threads_run_folds_at_once():
    both = threading.Barrier(2, timeout=60)
    numbers = []

    def program(fold):
        if numbers:  # but for the first fold, which runs alone
            both.wait()
        numbers.append(float(fold[0]))
        return fold

    assert Loop(program, 0, 2)(jnp.arange(5.0)).tolist() == [0, 1, 2, 3, 4]
    assert sorted(numbers) == [0, 1, 2, 3, 4]


def test_an_error_of_a_fold_is_raised(monkeypatch):
    monkeypatch.setattr(strategies, "count_cores", lambda: 2)
    lifted = STRATEGIES["threads"](lambda matrix: matrix @ matrix, num_shared=0)
    lifted._has_run = True
    with pytest.raises(TypeError):
        lifted(jnp.ones((3, 2, 5)))


TRAINED = """
import operator, sys
import jax, numpy as np
from medjax.training.controls import early_stopping, reduce_on_plateau
from medjax.training.fit import fit_folds
from medjax.training.folds import Controls, Watch
from medjax.data.splitting.splits import k_fold
from medjax.records import Split
from tests.tiny import make_images, tiny_learner

assert jax.device_count() == 4
images, labels = make_images()
folds = k_fold(labels, 5)
splits = [
    Split(np.setdiff1d(np.arange(120), np.r_[folds[i], folds[i - 1]]), folds[i - 1], folds[i]) for i in range(5)
]
controls = Controls(
    stopping=Watch(early_stopping(patience=2, min_delta=0.05), operator.attrgetter("mean_loss")),
    plateau=Watch(reduce_on_plateau(learning_rate=1e-2, patience=1, min_delta=0.05), operator.attrgetter("mean_loss")),
)
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
)
results, late = {}, {}
for strategy in ("loop", "map", "vmap", "devices"):
    for state, info in fit_folds(
        tiny_learner(dropout=0.0), (images, labels), splits, num_epochs=8, batch_size=16, controls=controls,
        strategy=strategy,
    ):
        if info.epoch == 0:
            before = len(compiled)
    late[strategy] = len(compiled) - before
    results[strategy] = jax.tree.map(np.array, state)
flat = {name: jax.tree.leaves(state) for name, state in results.items()}
stopped = results["loop"].epoch
assert len(set(stopped.tolist())) > 1, stopped
assert 0 < results["loop"].learner.learning_rate_scale.min() < 1
for name in ("map", "vmap", "devices"):
    for mine, its in zip(flat["loop"], flat[name], strict=True):
        if mine.dtype.kind == "f":
            np.testing.assert_allclose(its, mine, rtol=1e-3, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(its, mine, err_msg=name)
assert late == dict.fromkeys(late, 0), late
print("largest difference", {
    name: max(float(np.abs(a - b).max()) for a, b in zip(flat["loop"], flat[name]) if a.dtype.kind == "f")
    for name in flat
})
"""


@pytest.mark.slow
def test_strategies_agree_on_folds_with_controls_over_four_devices():
    """Five folds over four simulated devices; to 1e-3 relative or 1e-4 absolute, all decisions alike."""
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": ".",
    }
    ended = subprocess.run(
        [sys.executable, "-c", TRAINED], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "largest difference" in ended.stdout
