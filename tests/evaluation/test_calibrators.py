"""Maps of probabilities: what they are fitted to, and what they must leave as it is."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from medjax.errors import RefusedError
from medjax.evaluation.calibration import expected_calibration_error
from medjax.evaluation.calibrators import (
    Isotonic,
    LabelTemperatures,
    Temperature,
    Vector,
    fewest_images,
    fit_calibrator,
)
from tests.predicted import make_label_predictions, make_predictions


def cross_entropy(probabilities, labels):
    return -np.log(probabilities[np.arange(len(labels)), labels].astype(np.float64)).mean()


def test_a_temperature_undoes_the_sharpness_of_probabilities():
    for sharpness in (3.0, 0.5):
        predictions = make_predictions(n=20_000, sharpness=sharpness)
        assert fit_calibrator("temperature", predictions).value == pytest.approx(sharpness, rel=0.03)


def test_a_temperature_minimizes_the_cross_entropy():
    predictions = make_predictions(n=300, sharpness=2.0)
    fitted = fit_calibrator("temperature", predictions)
    logits = np.log(predictions.probabilities.astype(np.float64))

    def loss(temperature):
        values = np.exp(logits / temperature)
        return cross_entropy(values / values.sum(axis=1, keepdims=True), predictions.labels)

    grid = np.arange(0.5, 6, 0.001)
    assert fitted.value == pytest.approx(grid[np.argmin([loss(each) for each in grid])], abs=0.001)
    mapped = fitted.apply(predictions.probabilities)
    assert cross_entropy(mapped, predictions.labels) == pytest.approx(loss(fitted.value), rel=1e-6)


@pytest.mark.parametrize("value", [0.05, 0.3, 1.0, 2.5, 20.0])
def test_a_temperature_never_changes_the_predicted_class(value):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(5, 0.2), 5000).astype(np.float32)
    # Nearly even, where rounding makes the two largest equal; and certain, where the others are 0.
    even = np.float32(0.5)
    edges = [[np.nextafter(even, 0), even, 0, 0, 0], [0, 0, 0, 0, 1], [1 / 5] * 5, [0, 1e-38, 1, 0, 0]]
    probabilities = np.concatenate([probabilities, np.array(edges, np.float32)])
    mapped = Temperature(value).apply(probabilities)
    assert mapped.argmax(axis=1).tolist() == probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose(mapped.sum(axis=1), 1, atol=1e-5)


def test_without_an_error_the_temperature_is_one():
    predictions = make_predictions(n=400, separation=1.5)
    right = predictions.take(predictions.probabilities.argmax(axis=1) == predictions.labels)
    fitted = fit_calibrator("temperature", right)
    assert fitted.value == 1
    assert fitted.apply(right.probabilities) is right.probabilities


def test_vector_scaling_undoes_other_priors():
    """Probabilities under even priors, as class weights make them, become those under the shares of the images."""
    shares = np.array([0.8, 0.15, 0.05])
    true = make_predictions(n=20_000, shares=tuple(shares))
    weighted = true.probabilities / shares
    predictions = true._replace(
        probabilities=(weighted / weighted.sum(axis=1, keepdims=True)).astype(np.float32)
    )
    fitted = fit_calibrator("vector", predictions)
    np.testing.assert_allclose(np.diff(fitted.offsets), np.diff(np.log(shares)), atol=0.15)
    mapped = fitted.apply(predictions.probabilities)
    assert np.abs(mapped.mean(axis=0) - shares).max() < 0.01
    temperature = fit_calibrator("temperature", predictions).apply(predictions.probabilities)
    assert np.abs(temperature.mean(axis=0) - shares).max() > 0.05
    assert cross_entropy(mapped, true.labels) < cross_entropy(temperature, true.labels)


def test_vector_scaling_minimizes_its_penalized_cross_entropy():
    """Against another method of optimization, without gradients."""
    predictions = make_predictions(n=150, shares=(0.7, 0.3), sharpness=3.0)
    logits = np.log(predictions.probabilities.astype(np.float64))

    def total(parameters):
        scaled = np.exp(logits * parameters[:2] + parameters[2:])
        loss = cross_entropy(scaled / scaled.sum(axis=1, keepdims=True), predictions.labels)
        return loss * len(logits) + 0.5 * ((parameters - [1, 1, 0, 0]) ** 2).sum()

    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 10_000, "maxfev": 10_000}
    found = minimize(total, [1, 1, 0, 0], method="Nelder-Mead", options=options)
    fitted = fit_calibrator("vector", predictions)
    np.testing.assert_allclose(np.concatenate(fitted), found.x, atol=1e-3)


def test_isotonic_regression_is_scikit_learns_of_each_class():
    predictions = make_predictions(n=2000, sharpness=3.0)
    fitted = fit_calibrator("isotonic", predictions)
    shares = []
    for label, column in enumerate(predictions.probabilities.T.astype(np.float64)):
        regression = IsotonicRegression(y_min=1 / 2002, y_max=2001 / 2002, out_of_bounds="clip")
        shares.append(regression.fit(column, predictions.labels == label).predict(column))
    expected = np.stack(shares, axis=1)
    mapped = fitted.apply(predictions.probabilities)
    np.testing.assert_allclose(mapped, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    assert mapped.min() > 0
    fresh = make_predictions(seed=1, n=5000, sharpness=3.0)
    after = fresh._replace(probabilities=fitted.apply(fresh.probabilities))
    assert expected_calibration_error(after) < 0.5 * expected_calibration_error(fresh)


@pytest.mark.parametrize(
    "calibrator",
    [
        Vector(np.array([1.0, 1.0]), np.array([0.0, 1.0])),
        Isotonic((np.array([0.0, 1.0]),) * 2, (np.array([0.01, 0.2]), np.array([0.1, 0.9]))),
    ],
)
def test_the_others_may_change_the_predicted_class(calibrator):
    mapped = calibrator.apply(np.array([[0.6, 0.4]], np.float32))
    assert mapped.argmax() == 1
    assert mapped.sum() == pytest.approx(1)


def test_each_of_several_labels_has_a_temperature_of_its_own():
    predictions = make_label_predictions(n=20_000, unknown=0.2)
    logits = np.log(predictions.probabilities) - np.log1p(-predictions.probabilities)
    sharpened = (1 / (1 + np.exp(-logits * [1.0, 2.0, 0.5]))).astype(np.float32)
    fitted = fit_calibrator("temperature", predictions._replace(probabilities=sharpened))
    np.testing.assert_allclose(fitted.values, [1.0, 2.0, 0.5], rtol=0.05)
    mapped = fitted.apply(sharpened)
    np.testing.assert_allclose(mapped, predictions.probabilities, atol=0.02)
    assert ((mapped >= 0.5) == (sharpened >= 0.5)).all()


def test_rounding_moves_no_label_across_one_half():
    near = np.nextafter(np.float32([[0.5, 0.5]]), np.float32([[0, 1]]))
    mapped = LabelTemperatures(np.array([20.0, 20.0])).apply(near)
    assert (mapped >= 0.5).tolist() == [[False, True]]


def test_a_label_without_an_error_is_left_as_it_is():
    predictions = make_label_predictions(n=300)
    labels = predictions.labels.copy()
    labels[:, 1] = predictions.probabilities[:, 1] >= 0.5
    fitted = fit_calibrator("temperature", predictions._replace(labels=labels))
    assert fitted.values[1] == 1
    mapped = fitted.apply(predictions.probabilities)
    assert mapped[:, 1].tolist() == predictions.probabilities[:, 1].tolist()
    assert mapped[:, 0].tolist() != predictions.probabilities[:, 0].tolist()


def test_how_many_images_a_method_wants():
    assert [fewest_images(method, 3) for method in ("temperature", "vector", "isotonic")] == [30, 100, 1000]
    assert fewest_images("vector", 8) == 160


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_a_network_that_diverged_is_refused(method):
    predictions = make_predictions(n=50)
    predictions.probabilities[3] = np.nan
    with pytest.raises(RefusedError, match="not finite for 1 of 50 images"):
        fit_calibrator(method, predictions)


def test_a_label_that_few_images_are_known_of_is_left_as_it_is():
    """Three known images, one of them wrong, would set its temperature to the largest there is."""
    predictions = make_label_predictions(n=300)
    answers, temperatures = predictions.probabilities[:, 1] >= 0.5, []
    for known in (29, 30):
        labels = predictions.labels.copy()
        labels[:, 1] = answers
        labels[known:, 1], labels[0, 1] = -1, not answers[0]
        temperatures.append(fit_calibrator("temperature", predictions._replace(labels=labels)).values[1])
    assert temperatures[0] == 1
    assert temperatures[1] != 1
