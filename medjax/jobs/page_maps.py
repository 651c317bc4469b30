"""Maps for the page of a run: of the answers in some rows of its predictions, where they take a second or two."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float32, Int

from medjax.config import TrainConfig
from medjax.explain.grad_cam import find_layer
from medjax.explain.programs import make_explainer
from medjax.jobs.from_config import without_seed
from medjax.jobs.score_folds import FoldScores
from medjax.jobs.sharing import once
from medjax.models.network import Network, Variables, abstract_variables
from medjax.records import Dataset

MAX_ARRAYS = 24
"""Arrays of parameters of a network that is explained on its page: the program of a deeper one takes seconds to compile."""
MAX_PIXELS = 128 * 128
_BATCH = 8


def make_page_maps(
    config: TrainConfig,
    network: Network,
    dataset: Dataset,
    scores: FoldScores,
    variables_of: Callable[[int], Variables],
) -> Callable[[Int[np.ndarray, "row"]], Float32[np.ndarray, "row height width"]] | None:
    """A function from rows of the shown predictions to maps (Grad-CAM) of their predicted classes.

    Each is of the network of the row's own fold, `variables_of(fold)`. None where there are no maps, or they would take long.
    """
    shape, shown = dataset.images.shape[1:], scores.shown
    num_arrays = len(jax.tree.leaves(abstract_variables(network, shape).parameters))
    is_quick = num_arrays <= MAX_ARRAYS and shape[0] * shape[1] <= MAX_PIXELS
    if dataset.has_several_labels or shown is None or not is_quick or find_layer(network, shape) is None:
        return None
    what = "maps", without_seed(config), network, shape
    explain = once(what, lambda: make_explainer(network, shape, batch_size=_BATCH))

    def explain_rows(rows: Int[np.ndarray, "row"]) -> Float32[np.ndarray, "row height width"]:
        images = dataset.images[shown.indices[rows]]
        classes = shown.probabilities[rows].argmax(axis=1).astype(np.int32)
        maps = np.zeros(images.shape[:3], np.float32)
        for fold in np.unique(scores.folds[rows]).tolist():
            chosen = scores.folds[rows] == fold
            maps[chosen] = explain(variables_of(fold), images[chosen], classes[chosen]).maps
        return maps

    return explain_rows
