"""Each decision against Keras's own, which keras_oracle.py asked for and wrote into keras_decisions.json."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medjax.training.controls import best_so_far, early_stopping, reduce_on_plateau

ORACLE = json.loads((Path(__file__).parent / "keras_decisions.json").read_text(encoding="utf-8"))
SEQUENCES = {
    name: np.array([float(value) for value in values], np.float32)
    for name, values in ORACLE["sequences"].items()
}
MAKE = {
    "early_stopping": early_stopping,
    "reduce_on_plateau": reduce_on_plateau,
    "best_so_far": best_so_far,
}
EPOCHS = len(SEQUENCES["flat"])


def groups_of(callback):
    """The groups of a callback, each one setting with its runs, named by their settings."""
    return [
        pytest.param(group, id="-".join(f"{name}={value}" for name, value in group["settings"].items()))
        for group in ORACLE["groups"]
        if group["callback"] == callback
    ]


def make_control(group):
    return MAKE[group["callback"]](**group["settings"])


def values_of(group):
    return np.stack([SEQUENCES[run["sequence"]] for run in group["runs"]])


def first_states(control, num_folds):
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * num_folds), control.init())


def runs_and_states(group):
    """Each run of a group with our states, an axis of epochs in front, and the words that name it.

    The runs are folds of one vectorised update.
    """
    control, values = make_control(group), values_of(group)
    update = jax.jit(jax.vmap(control.update))
    state, states = first_states(control, len(values)), []
    for epoch in range(EPOCHS):
        state = update(state, values[:, epoch])
        states.append(jax.device_get(state))
    folds = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *states)
    for index, run in enumerate(group["runs"]):
        fold = jax.tree.map(lambda leaf, index=index: leaf[index], folds)
        yield run, fold, f"{group['callback']} {group['settings']} over {run['sequence']!r}"


@pytest.mark.parametrize("group", groups_of("early_stopping"))
def test_stopping_and_the_weights_to_restore_are_those_of_keras(group):
    for run, states, name in runs_and_states(group):
        seen = len(run["waits"])  # Keras was asked no more after it had stopped
        assert states.wait[:seen].tolist() == run["waits"], name
        bests = np.flatnonzero(states.is_best[:seen]).tolist()
        assert bests == run["bests"], name
        assert bests[-1] == run["restored"], name
        if run["stopped"] is None:
            assert not states.has_stopped.any(), name
        else:
            assert states.has_stopped.tolist() == [epoch >= run["stopped"] for epoch in range(EPOCHS)], name
            assert states.epoch[-1] == run["stopped"] + 1 == seen, name
        np.testing.assert_array_equal(states.best[-1], SEQUENCES[run["sequence"]][bests[-1]], name)


@pytest.mark.parametrize("group", groups_of("reduce_on_plateau"))
def test_learning_rates_are_those_of_keras(group):
    learning_rate, min_lr = group["settings"]["learning_rate"], group["settings"]["min_lr"]
    for run, states, name in runs_and_states(group):
        expected, changes = [learning_rate] * EPOCHS, run["changes"]
        for epoch, rate in changes:
            expected[epoch:] = [rate] * (EPOCHS - epoch)
        np.testing.assert_allclose(states.scale * np.float32(learning_rate), expected, 1e-6, err_msg=name)
        # Where Keras ends a rounding error above min_lr, it counts on towards a reduction that is none.
        is_just_above = [np.float32(min_lr) < rate < min_lr * (1 + 1e-6) for rate in expected]
        compared = is_just_above.index(True) if any(is_just_above) else EPOCHS
        assert states.wait[:compared].tolist() == run["waits"][:compared], name
        assert states.cooldown[:compared].tolist() == run["cooldowns"][:compared], name


@pytest.mark.parametrize("group", groups_of("best_so_far"))
def test_the_best_epochs_are_those_keras_saves(group):
    for run, states, name in runs_and_states(group):
        assert np.flatnonzero(states.is_best).tolist() == run["saved"], name
        best = SEQUENCES[run["sequence"]][run["saved"][-1]]
        np.testing.assert_array_equal(states.value[-1], best, name)


@pytest.mark.parametrize("group", [group for name in MAKE for group in groups_of(name)[::8]])
def test_folds_looped_mapped_and_vectorised_agree_to_the_bit(group):
    control, values = make_control(group), values_of(group)[:20]
    update = jax.jit(control.update)
    vectorised = jax.jit(jax.vmap(control.update))
    mapped = jax.jit(lambda *arguments: lax.map(lambda fold: control.update(*fold), arguments))
    looped_states = [control.init() for _ in values]
    mapped_states = vectorised_states = first_states(control, len(values))
    for epoch in range(EPOCHS):
        folds = zip(looped_states, values[:, epoch], strict=True)
        looped_states = [update(*fold) for fold in folds]
        mapped_states = mapped(mapped_states, values[:, epoch])
        vectorised_states = vectorised(vectorised_states, values[:, epoch])
        looped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped_states)
        for states in (mapped_states, vectorised_states):
            jax.tree.map(np.testing.assert_array_equal, looped, states)


@pytest.mark.parametrize("name", MAKE)
def test_nothing_is_compiled_after_the_first_epoch(name):
    control = MAKE[name](**({"learning_rate": 0.01} if name == "reduce_on_plateau" else {}))
    update = jax.jit(control.update)
    state = control.init()
    for value in (1.0, 0.5, 0.5, np.nan, 0.7):
        state = update(state, jnp.float32(value))
    assert update._cache_size() == 1


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan, np.inf, -np.inf])
def test_a_stopped_state_stays_put(value):
    control = early_stopping(patience=2)
    state = control.init()
    for metric in (0.5, 0.6, 0.4, 0.4, 0.4):
        assert not state.has_stopped
        state = control.update(state, jnp.float32(metric))
    assert state.has_stopped
    jax.tree.map(np.testing.assert_array_equal, state, control.update(state, jnp.float32(value)))


def test_the_oracle_holds_what_it_is_there_for():
    """A sequence that nobody improves on, or a bound that nobody reaches, would test nothing."""
    stopping = [group for group in ORACLE["groups"] if group["callback"] == "early_stopping"]
    stops = {(group["settings"]["mode"], run["stopped"]) for group in stopping for run in group["runs"]}
    assert {("min", None), ("max", None), ("min", 1), ("max", 1)} <= stops
    assert any(run["restored"] == 0 and run["stopped"] for group in stopping for run in group["runs"])
    assert any(
        wait >= group["settings"]["patience"] > 0 and run["stopped"] != epoch
        for group in stopping
        for run in group["runs"]
        for epoch, wait in enumerate(run["waits"])
    )
    plateaus = [group for group in ORACLE["groups"] if group["callback"] == "reduce_on_plateau"]
    assert {group["settings"]["cooldown"] for group in plateaus} == {0, 1, 2, 3}
    assert any(
        rate == group["settings"]["min_lr"]
        for group in plateaus
        for run in group["runs"]
        for _, rate in run["changes"]
    )
