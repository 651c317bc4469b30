"""Figures and page of a run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, Int

from medjax.config import TrainConfig
from medjax.errors import described
from medjax.jobs.from_config import Config, folds_of, make_augmentation, training_of, without_seed
from medjax.jobs.sharing import once
from medjax.records import Dataset, Images, Indices, Predictions, Split, has_label
from medjax.training.compilation import compile_program


class Examples(NamedTuple):
    """Images that the page shows whatever is learned of them."""

    samples: Indices  # a training image of each class
    augmented: (
        Float[np.ndarray, "class copy height width channel"] | None
    )  # 0 to 1; None if nothing is augmented
    failures: dict[str, str]  # why there are none, by figure


def make_examples(config: Config, dataset: Dataset, splits: Sequence[Split]) -> Examples:
    """The first training image of each class, and random augmentations of them."""
    train = splits[folds_of(config)[0]].train
    labels = dataset.labels[train]
    samples = train[[int(np.argmax(has_label(labels, label))) for label in range(len(dataset.class_names))]]
    try:
        return Examples(samples, make_augmented(dataset.images[samples], training_of(config)), {})
    except Exception as error:  # the device may have no memory left
        return Examples(samples, None, {"augmented": described(error)})


def import_drawing() -> None:
    """Import what draws: half a second, of which `draw_report` is spared then."""
    import medjax.report.figures.draw
    import medjax.report.page.page  # noqa: F401


def draw_report(
    directory: Path,
    status: str,
    dataset: Dataset,
    examples: Examples,
    predictions: Predictions | None,
    history: Sequence[Mapping[str, Any]],
    point: Mapping[str, Any] | None = None,
    *,
    before: Predictions | None = None,
    explain: Callable[[Int[np.ndarray, "row"]], Float32[np.ndarray, "row height width"]] | None = None,
) -> None:
    """Draw the figures of a scored run and write its page with this `status`; `point`, `before`
    and `explain` are those of `draw_figures`.

    What fails is left out with a note on the page, and one warning: the run is finished without it. Raises only OSError, if
    a file cannot be written.
    """
    # Imported here: refusals and predictions need not wait for Matplotlib.
    from medjax.report.figures.draw import draw_figures
    from medjax.report.page.page import write_page_or_note

    drawn = draw_figures(
        directory / "figures",
        dataset,
        examples.samples,
        examples.augmented,
        predictions,
        history,
        point,
        before=before,
        explain=explain,
    )
    write_page_or_note(directory, status, {**examples.failures, **drawn})


def make_augmented(originals: Images, config: TrainConfig, count: int = 6) -> np.ndarray | None:
    """Random augmentations of images (0 to 1) as in training; None if training augments nothing."""
    augment = make_augmentation(config)
    if augment is None:
        return None

    def draw(key: jax.Array, images: jax.Array) -> jax.Array:
        keys = jax.random.split(key, (len(originals), count))
        return jax.vmap(jax.vmap(augment, in_axes=(0, None)))(keys, images)

    # As training's programs are: a third of the time of JAX's own options.
    program = once(("drawing", without_seed(config), len(originals), count), lambda: compile_program(draw))
    return np.asarray(
        program(jax.random.key(config.seed), originals.astype(np.float32) / np.iinfo(originals.dtype).max)
    )
