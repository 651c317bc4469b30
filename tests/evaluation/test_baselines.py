"""Simple models on pictures whose found are known, and against scikit-learn's own."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.evaluation import baselines
from medjax.evaluation.baselines import (
    BASELINES,
    Data,
    average_pixels,
    averaging_factor,
    predict_baseline,
    predict_folds,
    score_baselines,
)
from medjax.evaluation.worker_threads import worker_threads
from tests.predicted import make_predictions


def make_pixels(n=300, seed=0, noise=0.3):
    """Three classes, each bright in a third of nine pixels; half of the images are of class 1."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, n, p=[0.3, 0.5, 0.2]).astype(np.int32)
    pixels = np.repeat(np.eye(3), 3, axis=1)[labels] + generator.normal(scale=noise, size=(n, 9))
    return pixels.astype(np.float32), labels


def fit(name, pixels, labels, num_train=200, num_classes=3):
    indices = np.arange(len(labels))
    return predict_baseline(name, pixels, labels, indices[:num_train], indices[num_train:], num_classes)


def test_majority_says_the_most_frequent_class_with_the_shares_of_all():
    pixels, labels = make_pixels()
    found = fit("majority", pixels, labels)
    assert (found.predicted == 1).all()
    assert found.probabilities[7] == pytest.approx(np.bincount(labels[:200]) / 200)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_distances_are_scikit_learns(noise):
    pixels, labels = make_pixels(noise=noise)
    for name, peer in (
        ("nearest_centroid", NearestCentroid()),
        ("nearest_neighbour", KNeighborsClassifier(1, algorithm="brute")),
    ):
        expected = peer.fit(pixels[:200], labels[:200]).predict(pixels[200:])
        np.testing.assert_array_equal(fit(name, pixels, labels).predicted, expected)


@pytest.mark.parametrize("name", BASELINES)
def test_folds_together_are_those_of_each_alone(name):
    pixels, labels = make_pixels(n=1000, noise=1.0)
    parts = np.arange(len(labels)) % 4
    folds = [(np.flatnonzero(parts != part), np.flatnonzero(parts == part)) for part in range(4)]
    with worker_threads() as workers:
        data = Data(pixels, labels, 3, workers)
        together = list(predict_folds(BASELINES[name], data, folds))
    for fold, found in zip(folds, together, strict=True):
        alone = predict_baseline(name, pixels, labels, *fold, 3)
        np.testing.assert_array_equal(found.predicted, alone.predicted)
        assert (found.probabilities is None) == (alone.probabilities is None)
        if found.probabilities is not None:
            np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-3)


@pytest.mark.parametrize("name", BASELINES)
def test_whole_numbers_give_the_answers_of_what_they_stand_for(name):
    pixels, labels = make_pixels(n=1500)
    wide = np.tile(np.clip(100 + 60 * pixels, 0, 255).astype(np.uint8), (1, 15))
    expected = fit(name, wide.astype(np.float32) / 255, labels, num_train=400)
    found = fit(name, wide, labels, num_train=400)
    np.testing.assert_array_equal(found.predicted, expected.predicted)
    if found.probabilities is not None:
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.01)


def test_a_search_that_pays_for_an_index_uses_one(monkeypatch):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 3000).astype(np.int32)
    pixels = (labels[:, None] + generator.normal(size=(3000, 150))).astype(np.float32)
    expected = fit("nearest_neighbour", pixels, labels, num_train=1500).predicted
    made = []
    monkeypatch.setattr(baselines, "make_index", lambda *given: made.append(given))
    np.testing.assert_array_equal(
        fit("nearest_neighbour", pixels, labels, num_train=1500).predicted, expected
    )
    assert len(made) == 1
    fit("nearest_neighbour", pixels, labels, num_train=2500)
    assert len(made) == 1


def test_a_copy_in_train_is_found():
    generator = np.random.default_rng(0)
    pixels, labels = generator.random((100, 50), np.float32), generator.integers(0, 3, 100).astype(np.int32)
    twice = np.concatenate([pixels, pixels])
    found = fit("nearest_neighbour", twice, np.concatenate([labels, labels]), num_train=100)
    np.testing.assert_array_equal(found.predicted, labels)


def test_logistic_regression_nears_the_best_that_can_be():
    pixels, labels = make_pixels(n=3000, noise=1.0)
    found = fit("logistic_regression", pixels, labels, num_train=2000)
    logits = pixels[2000:].reshape(-1, 3, 3).sum(2) + np.log(
        [0.3, 0.5, 0.2]
    )  # the classes' log-odds, unit variance
    best = (logits.argmax(1) == labels[2000:]).mean()
    assert (found.predicted == labels[2000:]).mean() == pytest.approx(best, abs=0.02)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_awkward_training_images_are_answered_too(name):
    pixels, labels = make_pixels(n=60)
    blank = np.zeros_like(pixels)
    assert set(fit(name, blank, labels, num_train=40).predicted) <= {0, 1, 2}
    only = np.where(labels == 0, 1, labels).astype(np.int32)  # class 0 is unseen
    found = fit(name, pixels, only, num_train=40)
    assert set(found.predicted) <= {1, 2}
    assert found.probabilities is None or (found.probabilities[:, 0] == 0).all()
    assert set(fit(name, pixels, np.ones(60, np.int32), num_train=40).predicted) == {1}
    assert len(fit(name, pixels[:5], labels[:5], num_train=4).predicted) == 1


def test_pixels_are_averaged_only_as_far_as_the_limits_fit():
    assert averaging_factor((28, 28, 1), 8_844 * 41_269) == 1
    assert averaging_factor((28, 28, 1), 5 * 11_791 * 47_163) == 1
    assert averaging_factor((64, 64, 1), 100) == 1
    assert averaging_factor((64, 64, 3), 100) == 2
    assert averaging_factor((28, 28, 1), 10**10) == 2
    assert averaging_factor((1, 9, 1), 10**15) == 1
    images = np.arange(2 * 5 * 4, dtype=np.uint8).reshape(2, 5, 4, 1)
    averaged = average_pixels(images, 2)
    assert averaged.shape == (2, 2, 2, 1)
    assert averaged[1, 1, 0, 0] == pytest.approx(images[1, 2:4, :2].mean() / 255)
    np.testing.assert_allclose(average_pixels(images, 1), images / 255, rtol=1e-6)


def test_the_block_names_the_best_baseline_and_the_gain_over_it():
    pixels, labels = make_pixels(noise=0.8)
    found = {name: fit(name, pixels, labels) for name in BASELINES}
    predictions = make_predictions(n=100)._replace(labels=labels[200:])
    block = score_baselines(found, predictions, None)
    assert block["models"].keys() == BASELINES.keys()
    for name, row in block["models"].items():
        assert row["errors"] == (found[name].predicted != labels[200:]).sum()
        assert row["ci95"][0] < row["accuracy"] < row["ci95"][1]
        assert (row["auc"] is None) == (name.startswith("nearest"))
    assert block["models"]["majority"]["auc"] == 0.5
    best = block["models"][block["best"]]
    assert best["errors"] == min(row["errors"] for row in block["models"].values())
    right = (predictions.probabilities.argmax(1) == predictions.labels).mean()
    assert block["gain_over_best_baseline"]["difference"] == pytest.approx(right - best["accuracy"])
    grouped = score_baselines(found, predictions, np.arange(100) // 2)
    assert grouped["gain_over_best_baseline"]["unit"] == "group"
    assert grouped["models"]["majority"]["ci95_grouped"] is not None


def test_the_same_images_give_the_same_answers():
    pixels, labels = make_pixels()
    first, second = (fit("logistic_regression", pixels, labels).probabilities for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_retinamnist_scores_as_published_elsewhere(retinamnist):
    # Its logistic regression on pixels: accuracy about 0.535, AUC about 0.717, on 400 images.
    dataset = load(retinamnist)
    split = splits.split(dataset, seed=0)
    pixels = average_pixels(dataset.images, 1).reshape(len(dataset.labels), -1)
    found = predict_baseline("logistic_regression", pixels, dataset.labels, split.train, split.test, 5)
    assert (found.predicted == dataset.labels[split.test]).mean() == pytest.approx(0.535, abs=0.03)
    assert baselines._macro_auc(found.probabilities, dataset.labels[split.test]) == pytest.approx(
        0.717, abs=0.03
    )
