"""Predictions: in the order asked for, the same in one call or in many, with or without labels."""

import jax
import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.models.cnn import CNN
from medjax.training.fit import fit, fit_folds
from medjax.training.fold_plan import evaluation_batch
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from medjax.training.predict import predict
from medjax.training.strategies import select_fold
from tests.tiny import make_images, make_split, tiny_learner

IMAGES, LABELS = make_images()
SPLIT = make_split(LABELS)


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def trained():
    """The last of two epochs, with an axis of folds."""
    steps = fit_folds(tiny_learner(), (IMAGES, LABELS), [SPLIT], num_epochs=2, batch_size=16)
    return [(info.epoch, jax.tree.map(np.array, state), info) for state, info in steps]


def test_parts_of_any_length_share_one_program_for_predictions(trained):
    variables = select_fold(trained[-1][1].learner.variables, 0)
    predict(tiny_learner(), variables, (IMAGES, LABELS), SPLIT.test)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    predict(tiny_learner(), variables, (IMAGES, LABELS), np.arange(7))
    predict(tiny_learner(), variables, (IMAGES, LABELS), np.tile(SPLIT.train, 3))
    assert compiled == []


def test_predictions_are_the_models_softmax_in_the_order_asked(trained):
    learner = tiny_learner()
    variables = select_fold(trained[-1][1].learner.variables, 0)
    indices = SPLIT.test[::-1].copy()
    predictions = predict(learner, variables, (IMAGES, LABELS), indices)
    assert np.array_equal(predictions.labels, LABELS[indices])
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1, rtol=1e-5)
    chosen = predictions.probabilities[np.arange(len(indices)), predictions.labels]
    np.testing.assert_allclose(predictions.losses, -np.log(chosen), rtol=1e-4, atol=1e-6)
    single = predict(learner, variables, (IMAGES, LABELS), indices[3:4])
    np.testing.assert_allclose(single.probabilities[0], predictions.probabilities[3], rtol=1e-5)


def test_predictions_do_not_depend_on_how_many_are_asked_for_in_one_call(trained, monkeypatch):
    variables = select_fold(trained[-1][1].learner.variables, 0)
    rows = np.resize(np.arange(len(LABELS)), 3 * evaluation_batch() + 5)
    whole = predict(tiny_learner(), variables, (IMAGES, LABELS), rows)
    # The last call is part empty.
    monkeypatch.setattr("medjax.training.predict._IMAGES_A_CALL", 2 * evaluation_batch())
    assert_same(whole, predict(tiny_learner(), variables, (IMAGES, LABELS), rows))
    one = predict(tiny_learner(), variables, (IMAGES, LABELS), rows[-1:])
    np.testing.assert_allclose(one.probabilities[0], whole.probabilities[-1], rtol=1e-5)


def test_images_alone_have_probabilities_and_no_losses(trained):
    variables = select_fold(trained[-1][1].learner.variables, 0)
    labelled = predict(tiny_learner(), variables, (IMAGES, LABELS))
    alone = predict(tiny_learner(), variables, IMAGES)
    assert_same(labelled.probabilities, alone.probabilities)
    assert (alone.labels, alone.losses) == (None, None)
    assert np.array_equal(alone.indices, np.arange(len(IMAGES)))


def test_any_state_of_one_fold_will_do_and_that_of_several_is_refused(trained):
    *_, (state, _) = fit(tiny_learner(), (IMAGES, LABELS), SPLIT, num_epochs=1, batch_size=16)
    same = [
        predict(tiny_learner(), each, IMAGES).probabilities
        for each in (state, state.learner, state.learner.variables, state.best)
    ]
    for other in same[1:]:
        assert_same(same[0], other)
    with pytest.raises(RefusedError, match=r"take one fold of it: medjax\.select_fold\(state, 0\)"):
        predict(tiny_learner(), trained[-1][1], IMAGES)
    with pytest.raises(RefusedError, match="state: is a dict"):
        predict(tiny_learner(), state.learner.parameters, IMAGES)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(bad, trained):
    variables = select_fold(trained[-1][1].learner.variables, 0)
    kernel = variables.parameters["features"]["block_0"]["kernel"]
    kernel[1, 1, 0, 0] = bad
    images = np.zeros_like(IMAGES)
    images[3] = IMAGES[3]  # of a black image, an infinite weight makes no number either
    for data in (images, (images, LABELS)):
        with pytest.raises(
            RefusedError, match=r"network CNN: its answers to \d+ of 120 images are not finite"
        ):
            predict(tiny_learner(), variables, data)


def test_no_image_has_no_predictions(trained):
    variables = select_fold(trained[-1][1].learner.variables, 0)
    for data, indices in (((IMAGES, LABELS), []), (IMAGES[:0], None)):
        predictions = predict(tiny_learner(), variables, data, indices)
        assert predictions.probabilities.shape == (0, 2)
        assert len(predictions.indices) == 0


def test_several_labels_are_learned_and_answered_one_by_one():
    """Beside the class a second label that both classes have at times, and that is not known of every third image."""
    bright = (np.arange(len(LABELS)) // 2 % 2).astype(np.int32)
    images = np.where(bright[:, None, None, None] == 1, IMAGES // 2 + 120, IMAGES).astype(np.uint8)
    labels = np.stack([LABELS, np.where(np.arange(len(LABELS)) % 3 == 0, -1, bright)], axis=1)
    model = CNN(2, dropout=0.0, block_features=(8,), hidden_units=16)
    learner = make_learner(model, make_adam(1e-2), several_labels=True)
    *_, (state, info) = fit(
        learner, (images, labels), SPLIT, num_epochs=20, batch_size=16, class_balance="weights"
    )
    assert info.val.num_images == (labels[SPLIT.val] >= 0).sum()
    found = predict(learner, state, (images, labels), SPLIT.test)
    truth = np.stack([LABELS, bright], axis=1)[SPLIT.test] == 1
    assert ((found.probabilities >= 0.5) == truth).mean() > 0.9
    known = found.labels >= 0
    entropies = -np.log(np.where(found.labels == 1, found.probabilities, 1 - found.probabilities)) * known
    np.testing.assert_allclose(found.losses, entropies.sum(1) / known.sum(1), rtol=1e-3, atol=1e-6)
    alone = predict(learner, state, images, SPLIT.test)
    np.testing.assert_array_equal(alone.probabilities, found.probabilities)
    assert alone.labels is None
    with pytest.raises(RefusedError, match=r"labels: have shape \(120,\), and the learner is one of several"):
        predict(learner, state, (images, LABELS))
    with pytest.raises(RefusedError, match=r"class_balance: an image with several labels has no class"):
        next(fit(learner, (images, labels), SPLIT, class_balance="sampling"))
