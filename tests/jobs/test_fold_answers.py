"""What several networks answer together."""

import jax
import numpy as np

from medjax.evaluation.calibrators import Temperature
from medjax.jobs.fold_answers import ask_networks, average_predictions, predict_each
from medjax.jobs.from_config import conformal_parts, make_splits
from medjax.records import Dataset
from medjax.training.predict import predict
from tests.configs import plain
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


def test_sets_are_made_of_calibrated_probabilities():
    images, labels = make_images(200)
    ids, digests = np.arange(200).astype(str), np.zeros((200, 32), np.uint8)
    dataset = Dataset(images, labels, ("a", "b"), ids, digests, "stripes")
    config = plain(calibrate="temperature", coverage=0.8, conformal_share=0.2)
    learner, splits = tiny_learner(), make_splits(config, dataset)
    models = {0: learner.init(jax.random.key(0), (8, 8, 1)).variables}
    arrays = jax.device_put((images, labels))
    answers = ask_networks(config, dataset, arrays, splits, learner, models)
    assert answers.calibrators[0].value != 1
    assert answers.validation[0].indices.tolist() == splits[0].val.tolist()
    part = predict(learner, models[0], arrays, conformal_parts(config, dataset)[0])
    calibrated = answers.calibrators[0].apply(part.probabilities).astype(np.float64)
    of_truth = calibrated[np.arange(len(part.labels)), part.labels]
    np.testing.assert_array_equal(answers.conformals[0].scores, 1 - of_truth)
