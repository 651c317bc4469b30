"""The figures of a run, drawn from its arrays into its directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from medjax.records import Dataset, Indices, Predictions
from medjax.report import plots
from medjax.report.curves import plot_curves


def draw_figures(
    directory: Path,
    dataset: Dataset,
    samples: Indices,
    augmented: Float[np.ndarray, "class twin height width channel"] | None,
    predictions: Predictions | None,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Draw curves, confusion matrix, samples, augmented samples and errors as PNG files into `directory`.

    `samples` has one image of each class, `augmented` random twins of each (0 to 1), if training used any;
    `predictions` are those of the part that is scored, or those of all folds together. Without any, where a fold
    diverged, confusion matrix and errors are left out.
    """
    names = np.array(dataset.class_names)
    originals = dataset.images[samples]
    is_synthetic = dataset.is_synthetic
    title = f"{dataset.name}: one training image of each class"
    figures = {
        "curves": plot_curves(history),
        "samples": plots.plot_samples(originals, names.tolist(), title, is_synthetic=is_synthetic),
    }
    if predictions is not None:
        figures["confusion_matrix"] = _draw_confusion(dataset, predictions)
        figures["errors"] = _draw_errors(dataset, predictions)
    if augmented is not None:
        figures["augmented"] = plots.plot_augmented(
            originals, augmented, names.tolist(), is_synthetic=is_synthetic
        )
    directory.mkdir(exist_ok=True)
    for name, figure in figures.items():
        plots.save_figure(figure, directory / f"{name}.png")


def _draw_confusion(dataset: Dataset, predictions: Predictions) -> Figure:
    predicted = predictions.probabilities.argmax(axis=1)
    confusion = confusion_matrix(predictions.labels, predicted, labels=np.arange(len(dataset.class_names)))
    return plots.plot_confusion_matrix(confusion, dataset.class_names)


def _draw_errors(dataset: Dataset, predictions: Predictions) -> Figure:
    names = np.array(dataset.class_names)
    predicted = predictions.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    indices, labels = predictions.indices[wrong], predictions.labels[wrong]
    return plots.plot_errors(
        dataset.images[indices],
        dataset.ids[indices].tolist(),
        names[labels].tolist(),
        names[predicted[wrong]].tolist(),
        predictions.probabilities[wrong, predicted[wrong]],
        predictions.probabilities[wrong, labels],
        is_synthetic=dataset.is_synthetic,
    )
