"""The experiment on MedMNIST without a training of any length: what it reads, keeps, pools and compares."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

import medjax
from experiments import medmnist_folds
from medjax.evaluation.comparison import compare_accuracies
from medjax.models.cnn import CNN
from tests.tiny import make_images


@pytest.fixture
def file(tmp_path):
    """In the form of MedMNIST; one image in four is of the test part, and black."""
    images, labels = make_images(80)
    images[60:] = 0
    parts = {"train": slice(0, 50), "val": slice(50, 60), "test": slice(60, 80)}
    arrays = {f"{name}_images": images[part] for name, part in parts.items()}
    arrays |= {f"{name}_labels": labels[part, None] for name, part in parts.items()}
    np.savez(tmp_path / "stripes.npz", **arrays)
    return tmp_path / "stripes.npz"


def fake(name, rights, calls):
    """A fit whose answers are right for the first so many images of each fold."""

    def fit(path, dataset, splits, fold, seed):
        calls.append((name, seed, fold))
        labels = dataset.labels[splits[fold].test]
        is_right = np.arange(len(labels)) < rights
        answers = np.where(is_right, 0.9, 0.3)[:, None] * np.eye(2)[labels]
        return {
            name: (answers + (1 - answers.sum(1, keepdims=True)) * np.eye(2)[1 - labels]).astype(np.float32)
        }

    return fit


def test_test_images_are_not_read_to_develop(file):
    dataset = medmnist_folds.load_development(file)
    assert len(dataset.labels) == 60
    assert dataset.images.any(axis=(1, 2, 3)).all()


def test_folds_that_are_there_are_kept_and_scored_in_pairs(file, tmp_path, capsys):
    calls = []
    fits = {"standard": fake("standard", 11, calls), "other": fake("other", 9, calls)}
    run = functools.partial(medmnist_folds.cross_validate, file, tmp_path / "folds", [0, 3], fits)
    assert run(range(1, 5)) == {"systems": {}, "standard_less": {}}
    assert len(calls) == 16
    found = run(range(5))
    assert calls[16:] == [(name, seed, 0) for seed in (0, 3) for name in fits]
    assert run(range(5)) == found
    assert len(calls) == 20
    assert found["systems"]["standard"]["accuracy"] == pytest.approx(55 / 60)
    less = found["standard_less"]["other"]
    assert (less["seeds"], less["accuracy"]) == ([0, 3], pytest.approx(10 / 60))
    assert less["auc_ci95"][0] < less["auc"] < less["auc_ci95"][1]
    assert "standard less other, seeds [0, 3]: accuracy +0.167" in capsys.readouterr().out


def test_an_image_counts_once_under_two_seeds(file):
    """Twice the same answers say no more about other images than once."""
    dataset = medmnist_folds.load_development(file)
    generator = np.random.default_rng(0)
    first, second = (generator.dirichlet((1, 1), 60).astype(np.float32) for _ in range(2))
    once, twice = (medmnist_folds.compare(dataset, [first] * n, [second] * n) for n in (1, 2))
    assert twice["auc_ci95"] == pytest.approx(once["auc_ci95"])
    is_right = [one.argmax(axis=1) == dataset.labels for one in (first, second)]
    assert once["accuracy_ci95"] == compare_accuracies(*is_right)["ci95"]
    widths = [high - low for low, high in (once["accuracy_ci95"], twice["accuracy_ci95"])]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_the_published_rate():
    rate = medmnist_folds.make_rate(steps=7)
    assert [float(rate(step)) for step in (0, 349, 350, 524, 525, 699)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )


def test_the_first_epoch_of_the_best_val_area_is_kept(file, monkeypatch):
    """The val part is a tenth of the training images of the fold."""
    dataset = medmnist_folds.load_development(file)
    splits = medjax.fold_splits(dataset, 5, inner_share=medmnist_folds.VAL_SHARE, seed=1)
    assert [len(part) for part in splits[2]] == [43, 5, 12]
    areas, scored = iter([0.5, 0.7, 0.7, 0.6]), []

    def fit_folds(learner, data, given, *, num_epochs, folds, **_):
        assert (given, folds) == (splits, [2])
        yield from ((np.array([epoch]), SimpleNamespace(epoch=epoch)) for epoch in range(num_epochs))

    def predict(learner, state, data, indices):
        return SimpleNamespace(probabilities=np.full((len(indices), 2), state), indices=indices)

    def score(predictions, **_):
        scored.append(predictions.indices)
        return SimpleNamespace(auc=next(areas))

    for name, replacement in (("fit_folds", fit_folds), ("predict", predict), ("score", score)):
        monkeypatch.setattr(medjax, name, replacement, raising=False)
    answers = medmnist_folds.fit_resnet18(file, dataset, splits, 2, 1, epochs=4, make_model=CNN)
    assert all(np.array_equal(indices, splits[2].val) for indices in scored)
    for system, epoch in (("resnet18, best epoch", 1), ("resnet18, last epoch", 3)):
        assert np.array_equal(answers[system], np.full((12, 2), epoch))
