"""Compiled programs: each once, whatever is compiled ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.training import programs
from medjax.training.fit import fit_folds
from medjax.training.fold_plan import make_plan
from medjax.training.folds import Controls, init_fold
from medjax.training.programs import compile_init
from medjax.training.strategies import loop, select_fold
from tests.tiny import make_images, make_split, tiny_learner

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("strategy", ["loop", "threads", "map", "vmap"])
def test_every_program_of_an_epoch_is_compiled_once_though_it_is_compiled_ahead(strategy):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, fun_name="", **__: compiled.append(fun_name) if "backend_compile" in event else None
    )
    learner = tiny_learner(learning_rate=0.012)
    for splits in ([SPLIT], [SPLIT, make_split(LABELS, seed=5)]):
        compiled.clear()
        for _ in fit_folds(learner, (IMAGES, LABELS), splits, num_epochs=2, batch_size=16, strategy=strategy):
            pass
        # By loop and threads two folds are two calls of the program for one; the others compile for so many folds.
        programs = [
            name for name in compiled if any(word in name for word in ("run_steps", "finish", "all_folds"))
        ]
        expected = (2 if len(splits) == 1 else 0) if strategy in ("loop", "threads") else 3
        assert len(programs) == expected, compiled


def test_fresh_parameters_are_those_of_a_compiler_that_optimises():
    plan = make_plan([SPLIT, make_split(LABELS, seed=5)], seed=2**32 - 1, batch_size=16)
    quick = compile_init(tiny_learner(), IMAGES.shape, Controls(), False)(plan.key)
    for fold in range(2):
        plain = jax.jit(lambda key: init_fold(key, tiny_learner(), Controls(), IMAGES.shape))(plan.key[fold])
        assert_same(select_fold(quick, fold), plain)


def test_a_program_that_needs_more_memory_than_there_is_does_not_run(monkeypatch):
    monkeypatch.setattr(programs, "available_memory", lambda: 100)
    steps = fit_folds(tiny_learner(), (IMAGES, LABELS), [SPLIT], num_epochs=1, batch_size=16)
    with pytest.raises(MemoryError, match=r"Unable to allocate [0-9.]+ .iB: 100 bytes are available"):
        next(steps)


def test_no_more_folds_run_at_once_than_memory_is_there_for(monkeypatch):
    program = loop(lambda matrix: jnp.tanh(matrix @ matrix) @ matrix, num_shared=0)
    program.folds_at_once = 64
    matrices = jnp.ones((3, 50, 50))
    needed = program.lower(matrices).compile().memory_analysis().temp_size_in_bytes
    monkeypatch.setattr(programs, "available_memory", lambda: 2 * needed + 1)
    programs._compile(program, matrices)
    assert needed > 0
    assert program.folds_at_once == 2
