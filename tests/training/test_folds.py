"""One fold's plan and epoch, and what its controls do to it."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.data.splitting.splits import fold_splits
from medjax.models.cnn import CNN
from medjax.records import Dataset, Split
from medjax.training.batching import Batch
from medjax.training.controls import best_so_far, early_stopping, reduce_on_plateau
from medjax.training.fit import fit_folds
from medjax.training.folds import Controls, Watch, init_fold
from medjax.training.learner import make_learner
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


def test_no_leaf_of_a_fresh_state_is_weakly_typed():
    """Or the program that `fit` compiles ahead would not be the one that it then runs."""
    state = jax.eval_shape(
        lambda key: init_fold(key, tiny_learner(), Controls(), (10, 8, 8, 1), keeps_losses=True),
        jax.random.key(0),
    )
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.weak_type]


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

    def mean_balanced_accuracy(balance):  # over seeds, as one may find none of the ten either way
        return np.mean(
            [
                train(Controls(), 20, [split], class_balance=balance, seed=seed)[-1][2].val.balanced_accuracy[
                    0
                ]
                for seed in range(3)
            ]
        )

    assert mean_balanced_accuracy(class_balance) > mean_balanced_accuracy("none")


def test_a_fold_that_draws_hard_images_alone_is_that_fold_among_all():
    both = train(Controls(), 3, [SPLIT, OTHER], loss_proportional_sampling=3)[-1][1]
    alone = train(Controls(), 3, [SPLIT, OTHER], loss_proportional_sampling=3, folds=[1])[-1][1]
    jax.tree.map(
        np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[1:], both.learner), alone.learner
    )
