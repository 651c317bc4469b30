"""One fold's plan and epoch, and what its controls do to it."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.data.splitting.splits import fold_splits
from medjax.models.cnn import CNN
from medjax.records import Dataset, Split
from medjax.training.batching import PADDING, Batch
from medjax.training.controls import best_so_far, early_stopping, reduce_on_plateau
from medjax.training.fit import fit_folds
from medjax.training.fold_plan import make_plan
from medjax.training.folds import Controls, Watch, init_fold, shuffle_epoch
from medjax.training.learner import make_learner
from medjax.training.sampling import update_running_losses
from tests.tiny import make_images, make_split, tiny_learner

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)
OTHER = make_split(LABELS, seed=5)
MEAN_LOSS = operator.attrgetter("mean_loss")


def train(controls, num_epochs, splits=(SPLIT,), **options):
    steps = fit_folds(
        tiny_learner(),
        (IMAGES, LABELS),
        list(splits),
        num_epochs=num_epochs,
        batch_size=16,
        controls=controls,
        **options,
    )
    return [
        (info.epoch, jax.tree.map(np.array, state), jax.tree.map(np.array, info)) for state, info in steps
    ]


def never_better():
    """A monitor that stands still."""
    return lambda sums: jnp.zeros(()) * sums.loss


def test_plans_do_not_depend_on_which_folds_are_chosen():
    short = Split(SPLIT.train[:40], SPLIT.val[:3], SPLIT.test)
    whole = make_plan([short, SPLIT], seed=3, batch_size=16)
    first = make_plan([short, SPLIT], seed=3, batch_size=16, folds=[0])
    assert first.train.shape == (1, 96)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[:1], whole.train), first.train)
    assert (jax.random.key_data(whole.key[0]) == jax.random.key_data(first.key[0])).all()
    assert sorted(np.array(first.train[0])) == [PADDING] * 56 + sorted(short.train)


def test_the_key_of_a_fold_is_the_seeds_folded_with_its_number():
    for seed in (0, 2**31, 2**32 - 1):
        keys = make_plan([SPLIT] * 3, seed=seed, batch_size=16, folds=[2, 0]).key
        for key, fold in zip(keys, (2, 0), strict=True):
            expected = jax.random.fold_in(jax.random.key(seed), fold)
            assert (jax.random.key_data(key) == jax.random.key_data(expected)).all()


def test_early_stopping_stops_a_fold_and_it_stays_put():
    controls = Controls(stopping=Watch(early_stopping(patience=2), never_better()))
    epochs = train(controls, 10)
    assert len(epochs) == 3  # the first is the best, then two without improvement
    _, state, info = epochs[-1]
    assert info.took_part[0]
    assert not state.active[0]
    assert not state.diverged[0]
    assert state.epoch[0] == 3
    continued = train(controls, 10, state=jax.tree.map(jnp.asarray, state))
    assert continued == []


def test_one_stopped_fold_waits_while_the_other_goes_on():
    def monitor(sums):
        # Of the two validation parts only the second gets better.
        return jnp.where(sums.num_images == len(SPLIT.val), 0.0, sums.loss)

    smaller = Split(OTHER.train, OTHER.val[:-4], OTHER.test)
    controls = Controls(stopping=Watch(early_stopping(patience=2), monitor))
    epochs = train(controls, 5, splits=(SPLIT, smaller))
    assert [info.took_part.tolist() for _, _, info in epochs][:4] == [[True, True]] * 3 + [[False, True]]
    at_stop, final = epochs[2][1], epochs[-1][1]
    frozen = jax.tree.map(lambda leaf: leaf[0], (at_stop, final))
    jax.tree.map(np.testing.assert_array_equal, *frozen)
    assert final.epoch.tolist() == [3, 5]
    assert epochs[-1][2].val.num_images.tolist() == [0, len(smaller.val)]


def test_a_plateau_lowers_the_scale_and_the_scale_scales_the_steps():
    plateau = reduce_on_plateau(learning_rate=1e-2, factor=0.5, patience=1)
    epochs = train(Controls(plateau=Watch(plateau, never_better())), 4)
    assert [float(info.learning_rate_scale[0]) for _, _, info in epochs] == [1.0, 1.0, 0.5, 0.25]
    assert epochs[-1][1].learner.learning_rate_scale[0] == 0.125
    still = reduce_on_plateau(learning_rate=1e-2, factor=1e-30, patience=1)
    states = [state for _, state, _ in train(Controls(plateau=Watch(still, never_better())), 3)]
    kernels = [state.learner.parameters["head"]["logits"]["kernel"] for state in states]
    assert not np.array_equal(kernels[0], kernels[1])
    np.testing.assert_allclose(kernels[1], kernels[2], atol=1e-20)  # the last epoch's rate is as good as none


def test_the_best_parameters_are_those_of_the_best_monitor_or_of_early_stopping():
    highest = Controls(best=Watch(best_so_far(mode="max"), MEAN_LOSS))
    epochs = train(highest, 4)
    losses = [float(info.val.mean_loss[0]) for _, _, info in epochs]
    assert epochs[-1][1].best.epoch[0] == int(np.argmax(losses))
    stopping = Watch(early_stopping(patience=9, min_delta=1e6), MEAN_LOSS)
    by_stopping = train(Controls(stopping=stopping, is_best_by_stopping=True), 4)[-1][1]
    assert by_stopping.best.epoch[0] == 0  # nothing after the first improves by a million


def test_the_scored_images_of_a_fold_decide_nothing_about_it():
    digests, groups = np.zeros((120, 32), np.uint8), np.arange(120) // 2
    ids = np.arange(120).astype(str)
    dataset = Dataset(IMAGES, LABELS, ("level", "upright"), ids, digests, "tiny", groups=groups.astype(str))
    splits = fold_splits(dataset, 3, inner_share=0.2)
    controls = Controls(
        stopping=Watch(early_stopping(patience=1, min_delta=0.02), MEAN_LOSS),
        plateau=Watch(reduce_on_plateau(learning_rate=1e-2, patience=1), MEAN_LOSS),
    )
    noisy = IMAGES.copy()
    noisy[splits[1].test] = np.random.default_rng(3).integers(0, 256, noisy[splits[1].test].shape)
    options = {"num_epochs": 4, "batch_size": 16, "controls": controls, "folds": [1]}
    clean, disturbed = (
        [
            jax.tree.map(np.array, state)
            for state, _ in fit_folds(tiny_learner(), (images, LABELS), splits, **options)
        ]
        for images in (IMAGES, noisy)
    )
    jax.tree.map(np.testing.assert_array_equal, clean, disturbed)
    for split in splits:
        train, val, test = ({*groups[part]} for part in split)
        assert train.isdisjoint(val | test)
        assert val.isdisjoint(test)


def test_without_a_validation_part_nothing_is_chosen_and_controls_refuse():
    bare = Split(SPLIT.train, SPLIT.val[:0], SPLIT.test)
    _, state, info = train(Controls(), 2, splits=(bare,))[-1]
    assert info.val.num_images[0] == 0
    assert state.best.epoch[0] == -1
    controls = Controls(stopping=Watch(early_stopping(), MEAN_LOSS))
    with pytest.raises(ValueError, match="a split has no validation part"):
        train(controls, 2, splits=(SPLIT, bare))


def drawn(running_losses, num_steps, seeds, start=0):
    """The images of steps of one image each, from `start` on, of a plan of 10 images padded to 12, over seeds."""
    plan = make_plan([Split(np.arange(10), np.arange(0), np.arange(0))], seed=0, batch_size=6)
    plan = jax.tree.map(lambda leaf: leaf[0], plan)
    state = init_fold(plan.key, tiny_learner(), Controls(), (10, 8, 8, 1), keeps_losses=True)
    state = state._replace(running_losses=jnp.asarray(running_losses, jnp.float32))
    draw = jax.jit(functools.partial(shuffle_epoch, 2, 1, num_steps))
    plans = [draw(LABELS, start, plan._replace(key=jax.random.key(seed)), state) for seed in range(seeds)]
    return np.stack([plan.train[start : start + num_steps] for plan in plans])


def test_no_leaf_of_a_fresh_state_is_weakly_typed():
    """Or the program that `fit` compiles ahead would not be the one that it then runs."""
    state = jax.eval_shape(
        lambda key: init_fold(key, tiny_learner(), Controls(), (10, 8, 8, 1), keeps_losses=True),
        jax.random.key(0),
    )
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.weak_type]


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


def imbalanced_plan(class_balance):
    """A plan of 40 images of class 0 and 10 of class 1."""
    train = np.concatenate([np.flatnonzero(LABELS == 0)[:40], np.flatnonzero(LABELS == 1)[:10]])
    part = Split(train, np.arange(0), np.arange(0))
    return make_plan([part], seed=0, batch_size=16, labels=LABELS, class_balance=class_balance)


def test_weights_make_the_classes_of_a_fold_weigh_alike():
    plan = imbalanced_plan("weights")
    assert plan.draw_weights == ()
    assert np.array(plan.loss_weights) == pytest.approx(np.array([[50 / 80, 50 / 20]]))


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


def test_a_weight_counts_as_so_many_images_in_the_loss():
    # Plain descent, as Adam would blow up the rounding of gradients near zero.
    learner = make_learner(CNN(2, dropout=0.0, block_features=(4,), hidden_units=8), optax.sgd(0.1))
    state = learner.init(jax.random.key(1), (8, 8, 1))
    images, labels = jnp.asarray(IMAGES[:4] / 255, jnp.float32), jnp.asarray(LABELS[:4])
    twice = np.array([0, 0, 1, 2, 3])
    mask = jnp.ones(5, bool)
    repeated, _ = learner.train_step(jax.random.key(0), state, Batch(images[twice], labels[twice], mask))
    weighed, info = learner.train_step(
        jax.random.key(0), state, Batch(images, labels, mask[:4], jnp.array([1.6, 0.8, 0.8, 0.8]))
    )
    jax.tree.map(
        lambda *leaves: np.testing.assert_allclose(*leaves, atol=1e-6),
        repeated.parameters,
        weighed.parameters,
    )
    assert info.sums.loss == pytest.approx(float(info.losses.sum()), rel=1e-5)  # what is shown is not weighed


@pytest.mark.parametrize("class_balance", ["weights", "sampling"])
def test_balancing_classes_finds_more_of_a_rare_one(class_balance):
    common, rare = np.flatnonzero(LABELS == 0), np.flatnonzero(LABELS == 1)
    split = Split(
        np.concatenate([common[:50], rare[:4]]), np.concatenate([common[50:], rare[4:14]]), rare[14:]
    )
    found = [
        train(Controls(), 20, [split], class_balance=balance)[-1][2].val.balanced_accuracy[0]
        for balance in ("none", class_balance)
    ]
    assert found[1] > found[0]


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


def test_a_fold_that_draws_hard_images_alone_is_that_fold_among_all():
    both = train(Controls(), 3, [SPLIT, OTHER], loss_proportional_sampling=3)[-1][1]
    alone = train(Controls(), 3, [SPLIT, OTHER], loss_proportional_sampling=3, folds=[1])[-1][1]
    jax.tree.map(
        np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[1:], both.learner), alone.learner
    )


def test_hardness_is_the_first_loss_and_then_a_running_mean_of_the_images_that_are_there():
    plan = make_plan([Split(np.arange(3), np.arange(0), np.arange(0))], seed=0, batch_size=4)
    plan = jax.tree.map(lambda leaf: leaf[0], plan)  # images 0, 1, 2 and a padding
    batch = Batch(jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int32), plan.train != PADDING)
    before = jnp.array([jnp.inf, 1.0, 2.0, 7.0])
    after = update_running_losses(before, plan, jnp.int32(0), batch, jnp.array([0.5, 0.5, 0.5, 9.0]))
    assert after.tolist() == [0.5, 0.75, 1.25, 7.0]
