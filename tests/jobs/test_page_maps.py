"""Maps on the page of a run: each of the network of its own fold, and none where they would take long."""

import numpy as np
import pytest

from medjax.jobs.page_maps import make_page_maps
from medjax.jobs.score_folds import FoldScores
from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.resnet import resnet18
from medjax.records import Predictions
from tests.configs import plain
from tests.pages import Page
from tests.tiny import make_images
from tests.user_networks import nnx_factory


def dataset_of(images, labels):
    from medjax.data.from_arrays import make_dataset

    return make_dataset(images, labels, ["level", "upright"])


@pytest.fixture
def problem():
    dataset = dataset_of(*make_images(n=6))
    probabilities = np.tile(np.float32([0.2, 0.8]), (4, 1))
    shown = Predictions(
        np.array([5, 0, 2, 1]), dataset.labels[[5, 0, 2, 1]], probabilities, np.zeros(4, np.float32)
    )
    return dataset, FoldScores({}, [], shown, np.array([1, 0, 1, 0]), None, {})


def test_each_row_is_explained_by_the_network_of_its_fold(problem):
    import jax

    from medjax.explain.programs import make_explainer

    dataset, scores = problem
    network = as_network(CNN(2, block_features=(4,), hidden_units=0))
    folds = {fold: network.init(jax.random.key(fold), (8, 8, 1)) for fold in (0, 1)}
    explain = make_page_maps(plain(), network, dataset, scores, folds.__getitem__)
    rows = np.array([3, 0, 2])
    found = explain(rows)
    alone = make_explainer(network, (8, 8, 1))
    for values, row in zip(found, rows, strict=True):
        image = dataset.images[scores.shown.indices[[row]]]
        expected = alone(folds[int(scores.folds[row])], image, np.array([1], np.int32)).maps[0]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    assert found.max() > 0


@pytest.mark.parametrize("kind", ["deep", "without features", "large", "diverged"])
def test_there_are_none_where_they_cannot_be_had_at_once(problem, kind):
    dataset, scores = problem
    network = as_network(CNN(2, block_features=(4,), hidden_units=0))
    if kind == "deep":
        network = as_network(resnet18(2))
    elif kind == "without features":
        network = as_network(nnx_factory(2))
    elif kind == "large":
        dataset = dataset._replace(images=np.zeros((6, 129, 128, 1), np.uint8))
    else:
        scores = scores._replace(shown=None)
    assert make_page_maps(plain(), network, dataset, scores, lambda fold: None) is None


@pytest.mark.parametrize("kind", ["trained_run", "crossval_run"])
def test_the_page_shows_them_with_the_sentence_that_they_are_no_proof(kind, request):
    run = request.getfixturevalue(kind)
    assert (run.directory / "figures" / "maps.png").stat().st_size > 10_000
    text = Page((run.directory / "report.html").read_text(encoding="utf-8")).text
    assert "It is no proof that the answer is right" in text
    assert ("network of its fold speak for it" in text) == (kind == "crossval_run")
