"""What several networks answer together."""

import jax
import numpy as np

from medjax.evaluation.calibrators import Temperature
from medjax.jobs.fold_answers import average_predictions, predict_each
from medjax.training.predict import predict
from tests.tiny import make_images, tiny_learner


def test_models_together_answer_with_the_mean_of_their_calibrated_probabilities():
    images, labels = make_images()
    learner = tiny_learner()
    models = {seed: learner.init(jax.random.key(seed), (8, 8, 1)).variables for seed in range(3)}
    indices = np.arange(5, 25)
    calibrators = {fold: Temperature(fold + 1.0) for fold in models}
    together = average_predictions(predict_each(learner, models, (images, labels), indices, calibrators))
    each = [
        calibrators[fold].apply(predict(learner, model, (images, labels), indices).probabilities)
        for fold, model in models.items()
    ]
    np.testing.assert_allclose(together.probabilities, np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        together.losses, -np.log(together.probabilities[np.arange(20), labels[indices]]), rtol=1e-6
    )
