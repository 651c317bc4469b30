"""The weighted sums against the resampled arrays that they stand for, and how often the intervals hold the truth."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from medjax.evaluation import bootstrap
from medjax.evaluation.bootstrap import METRICS, bootstrap_intervals, resample_sensitivity
from medjax.evaluation.scores import score
from tests.predicted import make_predictions

NAMES = ("a", "b", "c")


def plain_bootstrap(predictions, units, resamples, seed):
    """What the module says it does, by drawing arrays and asking scikit-learn."""
    generator, members = (
        np.random.default_rng(seed),
        [np.flatnonzero(units == u) for u in range(units.max() + 1)],
    )
    rows = []
    for _ in range(resamples):
        drawn = np.concatenate([members[u] for u in generator.integers(len(members), size=len(members))])
        labels, probabilities = predictions.labels[drawn], predictions.probabilities[drawn].astype(np.float64)
        called = probabilities.argmax(1)
        rows.append(
            (
                sklearn_metrics.balanced_accuracy_score(labels, called),
                sklearn_metrics.f1_score(labels, called, average="macro"),
                sklearn_metrics.average_precision_score(np.eye(3)[labels], probabilities),
                predictions.losses[drawn].mean(dtype=np.float64),
                ((probabilities - np.eye(3)[labels]) ** 2).sum(1).mean(),
            )
        )
    return dict(zip(METRICS, np.quantile(rows, [0.025, 0.975], axis=0).T, strict=True))


@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("decimals", [7, 1])  # one decimal: many ties
def test_it_is_the_bootstrap_of_resampled_arrays(group_size, decimals):
    predictions = make_predictions(n=120, group_size=group_size, shares=(0.2, 0.3, 0.5))
    predictions = predictions._replace(probabilities=predictions.probabilities.round(decimals))
    units = np.arange(120) // group_size
    found = bootstrap_intervals(predictions, 3, units, resamples=60, seed=3)
    expected = plain_bootstrap(predictions, units, 60, 3)
    for name in METRICS:
        assert found[name] == pytest.approx(tuple(expected[name]), rel=1e-9), name


def test_a_class_that_a_resample_lacks_leaves_no_interval():
    predictions = make_predictions(n=100, shares=(0.5, 0.5, 0.0))
    labels = predictions.labels.copy()
    labels[0] = 2
    found = bootstrap_intervals(predictions._replace(labels=labels), 3, np.arange(100), resamples=50, seed=0)
    assert [name for name in METRICS if found[name] is None] == list(METRICS[:3])
    assert all(found[name][0] < found[name][1] for name in ("loss", "brier"))


def test_a_loss_without_bound_has_no_interval():
    predictions = make_predictions(n=100)
    losses = predictions.losses.copy()
    losses[:50] = np.inf
    found = bootstrap_intervals(predictions._replace(losses=losses), 3, np.arange(100), resamples=20, seed=0)
    assert found["loss"] is None
    assert found["brier"] is not None


def test_blocks_change_nothing(monkeypatch):
    predictions = make_predictions(n=150)
    whole = bootstrap_intervals(predictions, 3, np.arange(150), resamples=40, seed=1)
    monkeypatch.setattr(bootstrap, "_BLOCK", 7)
    parts = bootstrap_intervals(predictions, 3, np.arange(150), resamples=40, seed=1)
    for name in METRICS:
        assert parts[name] == pytest.approx(whole[name]), name


def test_resampled_sensitivities_are_those_of_resampled_arrays_and_paired():
    """In the difference of a model and one that ranks alike nothing is left of the draw."""
    predictions, units = make_predictions(n=150), np.arange(150)
    options = {"specificities": np.array([0.8, 0.95]), "resamples": 30, "seed": 1}
    values, drawn = resample_sensitivity(predictions, [0], units, **options)
    sharper = predictions._replace(probabilities=predictions.probabilities**2)
    again, drawn_again = resample_sensitivity(sharper, [0], units, **options)
    assert (again.tolist(), drawn_again.tolist()) == (values.tolist(), drawn.tolist())
    generator = np.random.default_rng(1)
    for found in drawn.T:
        rows = generator.integers(150, size=150)
        is_class, scores = predictions.labels[rows] == 0, predictions.probabilities[rows, 0]
        rate, hits, _ = sklearn_metrics.roc_curve(is_class, scores, drop_intermediate=False)
        assert found == pytest.approx([hits[rate <= most + 1e-9].max() for most in (0.2, 0.05)])


def coverage(trials, resamples, **condition):
    """How often each interval holds what the metric is on very many images; withheld or missing ones count for nothing."""
    num_classes, group_size = len(condition["shares"]), condition.get("group_size", 1)
    names = tuple(map(str, range(num_classes)))
    truth = score(make_predictions(seed=10**6, **{**condition, "n": 400_000}), names, resamples=0).to_json()
    held, shown = dict.fromkeys(METRICS, 0), dict.fromkeys(METRICS, 0)
    for trial in range(trials):
        predictions = make_predictions(seed=trial, **condition)
        units = np.arange(len(predictions.labels)) // group_size
        found = bootstrap_intervals(predictions, num_classes, units, resamples=resamples, seed=trial)
        for name, interval in found.items():
            if interval is not None:
                shown[name] += 1
                held[name] += interval[0] <= truth[name] <= interval[1]
    assert min(shown.values()) > 0.9 * trials
    return {name: held[name] / shown[name] for name in METRICS}


@pytest.mark.parametrize(
    "condition",
    [
        dict(n=300, shares=(1 / 3,) * 3, separation=1.5),
        pytest.param(dict(n=400, shares=(1 / 3,) * 3, separation=1.5, group_size=4), marks=pytest.mark.slow),
    ],
    ids=["300 images", "100 groups of 4"],
)
def test_the_intervals_cover_the_truth_as_often_as_they_say(condition):
    assert coverage(600, 400, **condition) == pytest.approx(dict.fromkeys(METRICS, 0.95), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "condition",
    [
        dict(n=500, shares=(1 / 3,) * 3, separation=1.7),
        dict(n=600, shares=(0.1, 0.3, 0.6), separation=1.7),
        dict(n=2000, shares=(1 / 6,) * 6, separation=2.6),
        dict(n=500, shares=(1 / 3,) * 3, separation=1.7, sharpness=2.0),
        dict(n=800, shares=(1 / 3,) * 3, separation=1.7, group_size=4),
    ],
    ids=["balanced", "a rare class", "six classes", "overconfident", "groups"],
)
def test_the_intervals_cover_under_more_conditions(condition):
    for name, share in coverage(1500, 1000, **condition).items():
        assert 0.93 <= share <= 0.97, name
