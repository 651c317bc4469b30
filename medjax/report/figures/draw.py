"""Draw the figures of a run into its directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from medjax.evaluation.calibration import reliability
from medjax.evaluation.roc import precision_recall_curve, roc_curve
from medjax.files import open_folder
from medjax.records import Dataset, Images, Indices, Predictions
from medjax.report.figures import plots
from medjax.report.figures.curves import plot_curves
from medjax.report.figures.diagnostics import Curve, plot_ranking, plot_reliability


def draw_figures(
    directory: Path,
    dataset: Dataset,
    samples: Indices,
    augmented: Float[np.ndarray, "class copy height width channel"] | None,
    predictions: Predictions | None,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Draw the figures of a run as PNG files into `directory`.

    `samples` are the indices of one image of each class; `augmented` holds random augmentations of each in [0, 1], None
    if training does not augment. `predictions` are those of the scored part, or of all folds together; None, if a fold
    diverged, leaves out every figure of predictions.
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
        figures["unsure"] = _draw_unsure(dataset, predictions)
        figures["ranking"] = _draw_ranking(dataset, predictions)
        figures["reliability"] = plot_reliability(*reliability(predictions))
    if augmented is not None:
        figures["augmented"] = plots.plot_augmented(
            originals, augmented, names.tolist(), is_synthetic=is_synthetic
        )
    with open_folder(directory, root=directory.parent, create=True):
        for name, figure in figures.items():
            plots.save_figure(figure, directory / f"{name}.png", root=directory.parent)


def _draw_confusion(dataset: Dataset, predictions: Predictions) -> Figure:
    predicted = predictions.probabilities.argmax(axis=1)
    confusion = confusion_matrix(predictions.labels, predicted, labels=np.arange(len(dataset.class_names)))
    return plots.plot_confusion_matrix(confusion, dataset.class_names)


def _draw_errors(dataset: Dataset, predictions: Predictions) -> Figure:
    wrong = np.flatnonzero(predictions.probabilities.argmax(axis=1) != predictions.labels)
    return plots.plot_errors(*_select(dataset, predictions, wrong), is_synthetic=dataset.is_synthetic)


def _draw_unsure(dataset: Dataset, predictions: Predictions) -> Figure:
    least = np.argsort(predictions.probabilities.max(axis=1), kind="stable")[: plots.UNSURE_SHOWN]
    return plots.plot_unsure(*_select(dataset, predictions, least), is_synthetic=dataset.is_synthetic)


def _select(
    dataset: Dataset, predictions: Predictions, rows: Int[np.ndarray, "shown"]
) -> tuple[Images, list[str], list[str], list[str], Float[np.ndarray, "shown"], Float[np.ndarray, "shown"]]:
    """The arguments of `plot_errors` for some rows of the predictions."""
    names = np.array(dataset.class_names)
    indices, labels = predictions.indices[rows], predictions.labels[rows]
    predicted = predictions.probabilities[rows].argmax(axis=1)
    return (
        dataset.images[indices],
        dataset.ids[indices].tolist(),
        names[labels].tolist(),
        names[predicted].tolist(),
        predictions.probabilities[rows, predicted],
        predictions.probabilities[rows, labels],
    )


def _draw_ranking(dataset: Dataset, predictions: Predictions) -> Figure:
    roc, precision_recall = {}, {}
    for label, name in enumerate(dataset.class_names):
        if (curve := roc_curve(predictions, label)) is not None:
            roc[name] = Curve(curve.false_positive_rate, curve.true_positive_rate)
        if (pr_curve := precision_recall_curve(predictions, label)) is not None:
            precision_recall[name] = Curve(pr_curve.recall, pr_curve.precision)
    return plot_ranking(roc, precision_recall, dataset.class_names)
