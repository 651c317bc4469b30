"""The order in which an epoch takes its images: by their losses, by class, or shuffled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.records import Split
from medjax.training.batching import PADDING, Batch
from medjax.training.fold_plan import make_plan
from medjax.training.folds import Controls, init_fold, shuffle_epoch
from medjax.training.sampling import update_running_losses
from tests.tiny import make_images, tiny_learner
from tests.training.test_fold_plan import imbalanced_plan

IMAGES, LABELS = make_images()


def drawn(running_losses, num_steps, seeds, start=0):
    """The images of steps of one image each, from `start` on, of a plan of 10 images padded to 12, over seeds."""
    plan = make_plan([Split(np.arange(10), np.arange(0), np.arange(0))], seed=0, batch_size=6)
    plan = jax.tree.map(lambda leaf: leaf[0], plan)
    state = init_fold(plan.key, tiny_learner(), Controls(), (10, 8, 8, 1), keeps_losses=True)
    state = state._replace(running_losses=jnp.asarray(running_losses, jnp.float32))
    draw = jax.jit(functools.partial(shuffle_epoch, 2, 1, num_steps))
    plans = [draw(LABELS, start, plan._replace(key=jax.random.key(seed)), state) for seed in range(seeds)]
    return np.stack([plan.train[start : start + num_steps] for plan in plans])


def test_hard_images_are_drawn_in_proportion_to_their_losses():
    running_losses = [0.4, 0.2, 0.1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02, 0.02]
    first = drawn(running_losses, 1, 4000)[:, 0]
    share = np.bincount(first, minlength=10) / len(first)
    assert share == pytest.approx(np.array(running_losses), abs=0.025)  # 3 sd of the largest are 0.023


def test_a_learned_image_is_drawn_as_if_its_loss_were_at_least_the_floor():
    share = np.bincount(drawn([0.045] + [0.0] * 9, 1, 2000)[:, 0], minlength=10) / 2000
    assert share[0] == pytest.approx(0.5, abs=0.035)  # 0.045 against nine times 0.005
    assert (share[1:] > 0.03).all()


def test_an_image_not_seen_yet_is_as_hard_as_a_guess_makes_it():
    share = np.bincount(drawn([np.inf] + [np.log(2) / 9] * 9, 1, 2000)[:, 0], minlength=10) / 2000
    assert share[0] == pytest.approx(0.5, abs=0.035)


def test_sampling_draws_every_class_as_often_and_as_many_images_as_there_are():
    plan = jax.tree.map(lambda leaf: leaf[0], imbalanced_plan("sampling"))
    state = init_fold(plan.key, tiny_learner(), Controls(), (120, 8, 8, 1))
    draw = jax.jit(functools.partial(shuffle_epoch, 2, 16, 4))
    epochs = np.stack(
        [draw(LABELS, 0, plan._replace(key=jax.random.key(seed)), state).train for seed in range(40)]
    )
    assert ((epochs != PADDING).sum(axis=1) == 50).all()
    chosen = epochs[epochs != PADDING]
    assert set(chosen) == set(np.array(plan.train[:50]))
    assert LABELS[chosen].mean() == pytest.approx(0.5, abs=0.034)  # 3 sd of 2,000 draws


def test_no_image_is_drawn_twice_and_padding_only_when_the_images_run_out():
    some = drawn(np.linspace(0, 3, 10), 6, 50)
    assert all(len(set(row)) == 6 and PADDING not in row for row in some)
    assert len({tuple(sorted(row)) for row in some}) > 10
    everything = drawn(np.linspace(0, 3, 10), 12, 3)
    assert all(sorted(row) == [PADDING] * 2 + list(range(10)) for row in everything)
    assert (everything[:, 10:] == PADDING).all()


def test_the_order_of_the_drawn_does_not_tell_how_hard_they_are():
    orders = drawn(np.linspace(0.01, 3, 10), 6, 500)
    hardest = (orders == 9).argmax(axis=1)[(orders == 9).any(axis=1)]
    assert np.bincount(hardest, minlength=6).min() > 0.1 * len(hardest)


def test_each_draw_of_an_epoch_is_another():
    first, second = (drawn(np.ones(10), 5, 20, start) for start in (0, 5))
    assert not (first == second).all(axis=1).any()


def test_a_last_draw_cut_short_is_filled_from_the_draw_and_not_from_the_plan():
    running_losses = [0.0] * 9 + [1e6]
    last = drawn(running_losses, 5, 400, start=10)  # two of twelve steps are left
    assert last.shape == (400, 2)
    assert (last == 9).any(axis=1).mean() == pytest.approx(2 / 5, abs=0.075)


def test_hardness_is_the_first_loss_and_then_a_running_mean_of_the_images_that_are_there():
    plan = make_plan([Split(np.arange(3), np.arange(0), np.arange(0))], seed=0, batch_size=4)
    plan = jax.tree.map(lambda leaf: leaf[0], plan)  # images 0, 1, 2 and a padding
    batch = Batch(jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int32), plan.train != PADDING)
    before = jnp.array([jnp.inf, 1.0, 2.0, 7.0])
    after = update_running_losses(before, plan, jnp.int32(0), batch, jnp.array([0.5, 0.5, 0.5, 9.0]))
    assert after.tolist() == [0.5, 0.75, 1.25, 7.0]
