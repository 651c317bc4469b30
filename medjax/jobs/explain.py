"""Explain the answers of a run: maps of what moved them, and the files and the page that show them."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from medjax.config import ReadingConfig
from medjax.csv_text import write_csv
from medjax.errors import Problem, listed, refuse
from medjax.explain.grad_cam import find_layer
from medjax.explain.programs import Maps, MethodName, make_explainer
from medjax.files import Folder, open_folder, write_in
from medjax.jobs.from_config import folds_of
from medjax.jobs.recorded_config import recorded_config
from medjax.jobs.restored_network import make_run_learner, restore_variables
from medjax.jobs.restored_run import PredictedImages, Run
from medjax.report.page.explanations import IMAGES_SHOWN, Shown, render_explanations
from medjax.runs import directory as run_files

TABLE, ARRAYS, PAGE = "explanations.csv", "maps.npz", "index.html"
_NAME_LENGTH = 60  # characters of an id in the name of a file, which a file system bounds
_GAP = 0.05
"""Of integrated gradients: the share of the difference of logits that a map may lack without a warning."""


class Explanations(NamedTuple):
    """Images, what a run says of them, and maps of what moved its answer."""

    predicted: PredictedImages
    classes: list[str]  # of each image, the one whose logit its map is of
    probabilities: Float32[np.ndarray, "n"]  # of that class
    maps: Maps
    method: MethodName
    layer: str | None  # that grad-cam looked at
    notes: list[str]  # what a reader has to know


def explain_images(
    run: Run,
    images: Any,
    *,
    method: MethodName | None = None,
    class_name: str | None = None,
    layer: str | None = None,
    steps: int = 32,
    reading: ReadingConfig | None = None,
    left_out: list[Problem] | None = None,
) -> Explanations:
    """Maps of what moves the logit of a class in images without labels; `images`, `reading` and `left_out` as in `Run.predict`.

    `method` is "grad-cam", "integrated-gradients" (from a black image, in so many `steps`) or "gradient"; by default the first,
    or the second for a network without a module `features` that has maps. The class is the predicted one (of several labels
    the most probable), or `class_name`. `layer` is the path of the layer that grad-cam looks at. Of a cross-validation maps are the
    mean over the networks of its folds. RefusedError for what is not there.
    """
    names = list(run.record["class_names"])
    if class_name is not None and class_name not in names:
        raise refuse(f"--class-name {class_name}", "is no class of this run", f"one of {listed(names, 20)}")
    config = recorded_config(run.directory, run.record)
    network, _ = make_run_learner(run.directory, run.record, run.model, config, [])
    shape, notes = tuple(run.record["data"]["image_shape"]), []
    if method is None and layer is None and find_layer(network, shape) is None:
        method = "integrated-gradients"
        notes.append(
            f"network {network.name} has no module features with maps, so integrated gradients are shown"
        )
    method = method or "grad-cam"
    if layer is not None and method != "grad-cam":
        raise refuse("--layer", f"has no effect on {method}", "leave it out, or give --method grad-cam")
    layer = (layer or find_layer(network, shape)) if method == "grad-cam" else None
    explain = make_explainer(network, shape, method, layer=layer, steps=steps)
    predicted = run.predict_images(images, reading=reading, left_out=left_out)
    mean = predicted.probabilities.mean(axis=0)
    chosen = mean.argmax(axis=1) if class_name is None else np.full(len(mean), names.index(class_name))
    each = [
        explain(
            restore_variables(run.directory, run.record, config, network, fold),
            predicted.images,
            chosen.astype(np.int32),
        )
        for fold in folds_of(config)
    ]
    # The map of the mean logit: gradients are linear.
    maps = Maps(*(np.mean(parts, axis=0) for parts in zip(*each, strict=True) if parts[0] is not None))
    notes += _gap_notes(maps, steps)
    for words in notes:
        warnings.warn(words, stacklevel=2)
    classes = [names[index] for index in chosen]
    return Explanations(predicted, classes, mean[np.arange(len(mean)), chosen], maps, method, layer, notes)


def _gap_notes(maps: Maps, steps: int) -> list[str]:
    if maps.gap is None or maps.change is None:
        return []
    count = int(np.sum(np.abs(maps.gap) > _GAP * np.abs(maps.change)))
    if not count:
        return []
    share = f"more than {_GAP:.0%} of the difference of logits"
    return [f"the maps of {count:,} of {len(maps.gap):,} images lack {share}: give --steps {4 * steps}"]


def explain_into(run: Run, images: Any, out: str | Path, **options: Any) -> Explanations:
    """`explain_images`, written into a new or empty directory.

    For each image there are a PNG of it and one with the map over it, enlarged; explanations.csv says which; maps.npz has the arrays, index.html
    shows them. Numbers in the names of the files are positions in these.
    """
    directory = run_files.take_out_dir(Path(out))
    found = explain_images(run, images, **options)
    with open_folder(directory) as folder:
        shown = list(_write_images(folder, found))
        with write_in(folder, ARRAYS) as file:
            np.savez_compressed(file, allow_pickle=False, **_arrays(found))
    page = render_explanations(
        run.record, found.method, found.layer, found.notes, shown, len(found.predicted.ids)
    )
    run_files.write_text(directory / PAGE, page)
    run_files.write_text(directory / TABLE, write_csv(_rows(found)))
    return found


def _write_images(folder: Folder, found: Explanations) -> Iterator[Shown]:
    """Write the PNGs of all images; yields the first of them, for the page."""
    from medjax.report.figures.overlay import encode_png, enlarge, overlay

    for row, (name, image, values) in enumerate(
        zip(found.predicted.ids.tolist(), found.predicted.images, found.maps.maps, strict=True)
    ):
        pictures = [encode_png(enlarge(image)), encode_png(overlay(image, values))]
        for file_name, content in zip(_file_names(row, name), pictures, strict=True):
            with write_in(folder, file_name) as file:
                file.write(content)
        if row < IMAGES_SHOWN:
            yield Shown(
                id=name,
                predicted=found.predicted.predicted[row],
                explained=found.classes[row],
                probability=float(found.probabilities[row]),
                image=pictures[0],
                overlay=pictures[1],
                is_empty=not values.any(),
                change=None if found.maps.change is None else float(found.maps.change[row]),
                gap=None if found.maps.gap is None else float(found.maps.gap[row]),
            )


def _file_names(row: int, name: str) -> tuple[str, str]:
    """Names of an image's two files: its number, which tells all apart, and what of its id any file system takes."""
    stem = f"{row:05d}-{run_files.file_name(name)[-_NAME_LENGTH:]}"
    return f"{stem}-image.png", f"{stem}-map.png"


def _arrays(found: Explanations) -> dict[str, np.ndarray]:
    maps = {name: value for name, value in found.maps._asdict().items() if value is not None}
    texts = {
        "ids": found.predicted.ids.tolist(),
        "predicted": found.predicted.predicted,
        "explained": found.classes,
    }
    return {
        **{name: np.array(values, str) for name, values in texts.items()},
        "p_explained": found.probabilities,
        "images": found.predicted.images,
        **maps,
    }


def _rows(found: Explanations) -> Iterator[list[object]]:
    """Rows of explanations.csv."""
    measures = {name: getattr(found.maps, name) for name in ("change", "gap")}
    measures = {name: run_files.exact_text(value) for name, value in measures.items() if value is not None}
    yield ["id", "predicted", "explained", "p_explained", *measures, "image", "map"]
    probabilities = run_files.exact_text(found.probabilities)
    for row, name in enumerate(found.predicted.ids.tolist()):
        numbers = [values[row] for values in measures.values()]
        answer = found.predicted.predicted[row]
        yield [name, answer, found.classes[row], probabilities[row], *numbers, *_file_names(row, name)]
