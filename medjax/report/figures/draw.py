"""Draw the figures of a run into its directory."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int
from matplotlib.figure import Figure

from medjax.errors import described
from medjax.evaluation.calibration import reliability, reliability_bands
from medjax.evaluation.roc import precision_recall_curve, roc_band, roc_curve
from medjax.evaluation.scores import count_confusion
from medjax.evaluation.units import make_units
from medjax.files import open_folder, write_in
from medjax.records import UNKNOWN, Dataset, Images, Indices, Predictions
from medjax.report.figures import plots
from medjax.report.figures.curves import plot_curves
from medjax.report.figures.diagnostics import Band, Curve, plot_ranking, plot_reliability
from medjax.report.figures.fonts import Drawn, warn_of_stand_ins, with_stand_ins
from medjax.report.figures.overlay import overlay
from medjax.report.figures.render import encode_figure


class Drawing(NamedTuple):
    """A figure, and what its stand-ins for names mean."""

    figure: Figure
    legend: tuple[str, ...] = ()


def draw_figures(
    directory: Path,
    dataset: Dataset,
    samples: Indices,
    augmented: Float[np.ndarray, "class copy height width channel"] | None,
    predictions: Predictions | None,
    history: Sequence[Mapping[str, Any]],
    point: Mapping[str, Any] | None = None,
    *,
    before: Predictions | None = None,
    explain: Callable[[Int[np.ndarray, "row"]], Float32[np.ndarray, "row height width"]] | None = None,
) -> dict[str, str]:
    """Draw the figures of a run as PNG files into `directory`; returns why figures are missing that could not be drawn.

    `samples` are the indices of one image of each class; `augmented` holds random augmentations of each in [0, 1], None
    if training does not augment. `predictions` are those of the scored part, or of all folds together; None, if a fold
    diverged, leaves out every figure of predictions; of several labels there is no confusion matrix, nor maps, nor the least
    confident predictions. `point` is how good their decisions by a threshold are, as metrics.json has it; `before` are the
    predictions before calibration; `explain` makes maps of what moved the answers in some rows of the predictions. OSError
    if a file cannot be written.
    """
    classes = with_stand_ins(dataset.class_names, "class")
    makers: dict[str, Callable[[], Drawing]] = {
        "curves": lambda: Drawing(plot_curves(history)),
        "samples": lambda: _draw_samples(dataset, classes, samples),
    }
    if predictions is not None and dataset.has_several_labels:
        makers["errors"] = lambda: _draw_label_errors(dataset, classes, predictions)
    elif predictions is not None:
        makers["confusion_matrix"] = lambda: _draw_confusion(classes, predictions)
        makers["errors"] = lambda: _draw_errors(dataset, classes, predictions)
        makers["unsure"] = lambda: _draw_unsure(dataset, classes, predictions)
        if explain is not None:
            makers["maps"] = functools.partial(_draw_maps, dataset, classes, predictions, explain)
    if predictions is not None:
        makers["reliability"] = lambda: _draw_reliability(dataset, predictions, before)
        makers["ranking"] = lambda: _draw_ranking(dataset, classes, predictions, point)
    if augmented is not None:
        makers["augmented"] = lambda: _draw_augmented(dataset, classes, samples, augmented)
    failures: dict[str, str] = {}
    legend: dict[str, None] = {}  # in the order of the figures, each line once
    with open_folder(directory, root=directory.parent, create=True) as folder:
        for name, make in makers.items():
            file_name = f"{name}.png"
            try:
                drawing = make()
                content = encode_figure(*drawing)
            except (
                Exception
            ) as error:  # the work that the figure shows is finished, and must not be lost to it
                failures[name] = described(error)
                folder.remove(file_name)  # drawn before the run went on
                continue
            with write_in(folder, file_name) as file:
                file.write(content)
            legend |= dict.fromkeys(drawing.legend)
    warn_of_stand_ins(classes.legend or list(legend))
    return failures


def _draw_reliability(dataset: Dataset, predictions: Predictions, before: Predictions | None) -> Drawing:
    bands = None  # of several labels: those of one image depend on each other
    if not dataset.has_several_labels:
        groups = None if dataset.groups is None else dataset.groups[predictions.indices]
        bands = reliability_bands(predictions, make_units(predictions, groups))
    figure = plot_reliability(
        *reliability(predictions),
        has_several_labels=dataset.has_several_labels,
        bands=bands,
        before=None if before is None else Curve(*reliability(before)[2:]),
    )
    return Drawing(figure)


def _draw_samples(dataset: Dataset, classes: Drawn, samples: Indices) -> Drawing:
    title = with_stand_ins([dataset.name], "data set").names[0]
    figure = plots.plot_samples(
        dataset.images[samples],
        classes.names,
        f"{title}: one training image of each class",
        is_synthetic=dataset.is_synthetic,
    )
    return Drawing(figure, classes.legend)


def _draw_augmented(
    dataset: Dataset,
    classes: Drawn,
    samples: Indices,
    augmented: Float[np.ndarray, "class copy height width channel"],
) -> Drawing:
    originals = dataset.images[samples]
    figure = plots.plot_augmented(originals, augmented, classes.names, is_synthetic=dataset.is_synthetic)
    return Drawing(figure, classes.legend)


def _draw_confusion(classes: Drawn, predictions: Predictions) -> Drawing:
    confusion = count_confusion(predictions, len(classes.names))
    return Drawing(plots.plot_confusion_matrix(confusion, classes.names), classes.legend)


def _draw_errors(dataset: Dataset, classes: Drawn, predictions: Predictions) -> Drawing:
    wrong = _rank_errors(predictions)
    texts, legend = _select(dataset, classes, predictions, wrong[: plots.ERRORS_SHOWN])
    return Drawing(plots.plot_errors(*texts, total=len(wrong), is_synthetic=dataset.is_synthetic), legend)


def _draw_label_errors(dataset: Dataset, classes: Drawn, predictions: Predictions) -> Drawing:
    """Below each image its two wrong labels furthest from their threshold, or one and the number of the others.

    From the threshold to 0 or 1 is a distance of 1, so that a rare label, whose threshold is low, counts as others do.
    """
    decisions, probabilities = predictions.decisions, predictions.probabilities
    thresholds = predictions.all_thresholds
    is_wrong = (decisions != (predictions.labels == 1)) & (predictions.labels != UNKNOWN)
    room = np.maximum(np.where(decisions, 1 - thresholds, thresholds), np.finfo(np.float32).tiny)
    distance = np.where(is_wrong, np.abs(probabilities - thresholds) / room, -1)
    wrong = np.flatnonzero(is_wrong.any(axis=1))
    rows = wrong[np.argsort(-distance[wrong].max(axis=1), kind="stable")][: plots.ERRORS_SHOWN]

    def caption(row: int) -> str:
        labels = np.argsort(-distance[row], kind="stable")[: is_wrong[row].sum()]
        texts = [
            f"{'false' if decisions[row, label] else 'missed'}: "
            f"{plots.with_probability(classes.names[label], float(probabilities[row, label]))}"
            for label in labels
        ]
        return "\n".join(texts if len(texts) < 3 else [texts[0], f"and {len(texts) - 1} more"])

    indices = predictions.indices[rows]
    shown = with_stand_ins(dataset.ids[indices].tolist(), "image")
    figure = plots.plot_label_errors(
        dataset.images[indices],
        shown.names,
        [caption(row) for row in rows.tolist()],
        total=len(wrong),
        is_synthetic=dataset.is_synthetic,
    )
    return Drawing(figure, (*classes.legend, *shown.legend))


def _draw_unsure(dataset: Dataset, classes: Drawn, predictions: Predictions) -> Drawing:
    texts, legend = _select(dataset, classes, predictions, _rank_unsure(predictions)[: plots.UNSURE_SHOWN])
    return Drawing(plots.plot_unsure(*texts, is_synthetic=dataset.is_synthetic), legend)


def _draw_maps(
    dataset: Dataset,
    classes: Drawn,
    predictions: Predictions,
    explain: Callable[[Int[np.ndarray, "row"]], Float32[np.ndarray, "row height width"]],
) -> Drawing:
    """The first errors, then the least confident of the right answers, each beside its map."""
    errors = _rank_errors(predictions)
    unsure = _rank_unsure(predictions)
    unsure = unsure[~np.isin(unsure, errors)]
    rows = np.concatenate([errors[: plots.MAPS_SHOWN], unsure[: plots.MAPS_SHOWN]])
    texts, legend = _select(dataset, classes, predictions, rows)
    overlays = [overlay(image, values) for image, values in zip(texts[0], explain(rows), strict=True)]
    return Drawing(plots.plot_maps(np.stack(overlays), *texts, is_synthetic=dataset.is_synthetic), legend)


def _rank_errors(predictions: Predictions) -> Int[np.ndarray, "row"]:
    """Rows of the wrong answers, the most confident first."""
    wrong = np.flatnonzero(predictions.probabilities.argmax(axis=1) != predictions.labels)
    return wrong[np.argsort(-predictions.probabilities[wrong].max(axis=1), kind="stable")]


def _rank_unsure(predictions: Predictions) -> Int[np.ndarray, "row"]:
    """All rows, the least confident answer first."""
    return np.argsort(predictions.probabilities.max(axis=1), kind="stable")


def _select(
    dataset: Dataset, classes: Drawn, predictions: Predictions, rows: Int[np.ndarray, "row"]
) -> tuple[tuple[Images, list[str], list[str], list[str], Any, Any], tuple[str, ...]]:
    """The arguments of `plot_errors` for some rows of the predictions, and their legend."""
    names = np.array(classes.names)
    indices, labels = predictions.indices[rows], predictions.labels[rows]
    predicted = predictions.probabilities[rows].argmax(axis=1)
    shown = with_stand_ins(dataset.ids[indices].tolist(), "image")
    arguments = (
        dataset.images[indices],
        shown.names,
        names[labels].tolist(),
        names[predicted].tolist(),
        predictions.probabilities[rows, predicted],
        predictions.probabilities[rows, labels],
    )
    return arguments, (*classes.legend, *shown.legend)


def _draw_ranking(
    dataset: Dataset, classes: Drawn, predictions: Predictions, point: Mapping[str, Any] | None
) -> Drawing:
    """Of two classes one ROC curve, which says all of the other, with its band."""
    roc, precision_recall, band = {}, {}, None
    positive = 1 if point is None else dataset.class_names.index(point["positive"])
    is_pair = len(classes.names) == 2 and not dataset.has_several_labels
    for label, name in enumerate(classes.names):
        curve = roc_curve(predictions, label)
        if curve is not None and (label == positive or not is_pair):
            roc[name] = Curve(curve.false_positive_rate, curve.true_positive_rate)
        if (pr_curve := precision_recall_curve(predictions, label)) is not None:
            precision_recall[name] = Curve(pr_curve.recall, pr_curve.precision)
    if is_pair and roc:
        groups = None if dataset.groups is None else dataset.groups[predictions.indices]
        found = roc_band(predictions, positive, make_units(predictions, groups).resampled)
        band = None if found is None else Band(*found)
    place = None
    if point is not None and None not in (point["sensitivity"], point["specificity"]):
        place = (1 - point["specificity"], point["sensitivity"])
    figure = plot_ranking(roc, precision_recall, classes.names, band=band, point=place)
    return Drawing(figure, classes.legend)
