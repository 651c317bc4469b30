"""The loop over epochs: deterministic, compiled once, silent to held-out images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.metrics import Sums
from medjax.training.fit import fit_folds
from tests.tiny import make_images, make_split, tiny_learner

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)


def train(images=IMAGES, splits=(SPLIT,), num_epochs=2, learner=None, **options):
    options = {"batch_size": 16, **options}
    steps = fit_folds(
        learner or tiny_learner(), (images, LABELS), list(splits), num_epochs=num_epochs, **options
    )
    return [
        (info.epoch, jax.tree.map(np.array, state), jax.tree.map(np.array, info)) for state, info in steps
    ]


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def trained():
    return train()


def test_it_learns():
    _, state, info = train(num_epochs=15)[-1]
    assert info.val.accuracy[0] > 0.9
    assert state.learner.step[0] == 15 * 6  # 84 images in batches of 16


def test_the_same_call_gives_the_same_bits(trained):
    assert_same(trained[-1][1:], train()[-1][1:])


def test_a_batch_is_never_larger_than_the_train_part():
    largest = train(batch_size=len(SPLIT.train))[-1][1:]
    assert_same(largest, train(batch_size=10**12)[-1][1:])
    assert largest[0].learner.step[0] == 2


def test_another_seed_gives_other_parameters(trained):
    other = train(seed=1)[-1][1]
    assert not np.array_equal(
        trained[-1][1].learner.parameters["head"]["logits"]["kernel"],
        other.learner.parameters["head"]["logits"]["kernel"],
    )


def test_the_length_of_a_chunk_does_not_change_a_bit(trained, monkeypatch):
    monkeypatch.setattr("medjax.training.fit._next_chunk", lambda steps, seconds: 1 + steps % 3)
    assert_same(trained[-1][1:], train()[-1][1:])


def test_continuing_from_a_saved_state_repeats_the_uninterrupted_run(trained):
    half = train(num_epochs=1)[-1][1]
    rest = train(state=jax.tree.map(jnp.asarray, half))
    assert [epoch for epoch, _, _ in rest] == [1]
    assert_same(trained[-1][1:], rest[-1][1:])


def test_an_epoch_of_hard_images_has_as_many_steps_as_ever():
    _, state, info = train(num_epochs=2, loss_proportional_sampling=4)[-1]
    assert state.learner.step[0] == 2 * 6  # 84 images in batches of 16
    assert info.train.num_images[0] == 2 * 3 * 16


def test_how_hard_the_images_trained_on_were_is_remembered_and_no_other():
    def known(**options):
        return set(np.flatnonzero(np.isfinite(train(num_epochs=1, **options)[-1][1].running_losses[0])))

    assert known(loss_proportional_sampling=1) == set(SPLIT.train)
    assert 32 <= len(known(loss_proportional_sampling=3)) < 84
    assert known(loss_proportional_sampling=3) < set(SPLIT.train)


def test_without_draws_nothing_is_remembered(trained):
    assert trained[-1][1].running_losses == ()


def test_hard_images_come_back_the_same_whatever_the_chunks_and_interruptions(monkeypatch):
    options = {"loss_proportional_sampling": 3, "num_epochs": 4}
    whole = train(**options)
    rest = train(**options, state=jax.tree.map(jnp.asarray, whole[1][1]))
    assert_same(whole[-1][1:], rest[-1][1:])
    monkeypatch.setattr("medjax.training.fit._next_chunk", lambda steps, seconds: 1 + steps % 3)
    assert_same(whole[-1][1:], train(**options)[-1][1:])


def test_held_out_images_replaced_by_noise_leave_the_trained_parameters_bit_identical(trained):
    noisy = IMAGES.copy()
    held_out = np.concatenate([SPLIT.val, SPLIT.test])
    noisy[held_out] = np.random.default_rng(9).integers(0, 256, noisy[held_out].shape)
    state, info = train(noisy)[-1][1:]
    assert_same(trained[-1][1].learner, state.learner)
    assert_same(trained[-1][2].train, info.train)
    assert not np.array_equal(trained[-1][2].val.loss, info.val.loss)


def test_test_images_replaced_by_noise_change_nothing_at_all(trained):
    noisy = IMAGES.copy()
    noisy[SPLIT.test] = 77
    assert_same(trained[-1][1:], train(noisy)[-1][1:])


def test_a_training_image_replaced_by_noise_does_change_the_parameters(trained):
    noisy = IMAGES.copy()
    noisy[SPLIT.train[0]] = 77
    kernels = [
        state.learner.parameters["head"]["logits"]["kernel"]
        for state in (trained[-1][1], train(noisy)[-1][1])
    ]
    assert not np.array_equal(*kernels)


def test_no_compilation_after_the_first_epoch(monkeypatch):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    before_second = None
    for _, info in fit_folds(
        tiny_learner(learning_rate=0.011), (IMAGES, LABELS), [SPLIT], num_epochs=4, batch_size=16
    ):
        if info.epoch == 0:
            assert compiled
            before_second = len(compiled)
    assert len(compiled) == before_second


def test_a_learner_that_was_trained_before_compiles_nothing():
    train()
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    train()
    assert compiled == []


def test_what_fails_while_it_is_compiled_ahead_is_raised():
    def no_step(key, state, batch):
        raise ArithmeticError("no step")

    with pytest.raises(ArithmeticError, match="no step"):
        train(learner=tiny_learner()._replace(train_step=no_step))


def test_no_transfer_between_host_and_device_inside_an_epoch():
    arrays = jnp.asarray(IMAGES), jnp.asarray(LABELS)
    steps = fit_folds(tiny_learner(), arrays, [SPLIT], num_epochs=2, batch_size=16)
    next(steps)
    with jax.transfer_guard_host_to_device("disallow"):
        next(steps)


def test_every_training_image_counts_once_an_epoch_and_every_val_image_too(trained):
    for _, _, info in trained:
        assert Sums(*info.train).num_images[0] == len(SPLIT.train)
        assert Sums(*info.val).num_images[0] == len(SPLIT.val)


def test_progress_reaches_the_end_of_every_epoch():
    seen = []
    train(on_progress=lambda progress: seen.append((progress.epoch, progress.step, progress.num_steps)))
    assert seen[0] == (0, 0, 6)  # compiled, nothing done yet
    assert (0, 6, 6) in seen
    assert seen[-1] == (1, 6, 6)
    assert seen == sorted(seen)


def test_the_best_parameters_are_those_of_the_lowest_val_loss():
    epochs = train(num_epochs=6)
    losses = [float(info.val.mean_loss[0]) for _, _, info in epochs]
    best = int(np.argmin(losses))
    final = epochs[-1][1]
    assert final.best.epoch[0] == best
    assert final.controls.best.value[0] == pytest.approx(losses[best])
    assert_same(final.best.variables, epochs[best][1].learner.variables)


def test_a_diverged_fold_is_frozen_in_its_last_finite_state():
    learner = tiny_learner(learning_rate=1e30)
    epochs = train(learner=learner, num_epochs=5)
    _, state, info = epochs[-1]
    assert len(epochs) == 1
    assert state.diverged[0]
    assert not info.took_part[0]
    assert not state.active[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.learner.parameters))


def test_folds_side_by_side_equal_each_fold_alone():
    other = make_split(LABELS, seed=5)
    both = train(splits=(SPLIT, other))[-1][1]
    alone = train()[-1][1]
    assert_same(jax.tree.map(lambda leaf: leaf[:1], both), alone)
    assert not np.array_equal(*both.learner.parameters["head"]["logits"]["kernel"])
