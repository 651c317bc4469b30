"""Put what a table says of its images into a data set that was decoded without labels."""

import warnings

import numpy as np

from medjax.data.bad_images import emptied_classes
from medjax.data.decoding.collect import find_conflicts
from medjax.data.from_arrays import require_trained
from medjax.data.reading.layout import Layout
from medjax.data.splitting.duplicates import merge_groups
from medjax.data.tables.label_images import Labelled
from medjax.errors import Problem, RefusedError, listed, printable
from medjax.records import AnyLabels, Dataset, describe_labels, label_sets


def without_labels(layout: Layout) -> Layout:
    """The layout with all images in one class, as they are decoded and cached: labels come after."""
    return layout._replace(
        images=[image._replace(class_name="") for image in layout.images], class_names=("",)
    )


def label_dataset(dataset: Dataset, labelled: Labelled) -> Dataset:
    """The data set with classes, groups, parts and folds; some of the images of `labelled` may be missing in it.

    RefusedError where a class has lost all its images, where identical images have different labels, and where a fixed part
    or fold leaves a class without images to train on.
    """
    layout = labelled.layout
    present = {*dataset.ids.tolist()}
    kept = [image.id in present for image in layout.images]
    labels = _labels_of(labelled)[kept]
    bad = [position for position, is_kept in enumerate(kept) if not is_kept]
    problems = emptied_classes(layout.images, bad) or _conflicts(dataset, labels, layout, labelled)
    if problems:
        raise RefusedError(problems)
    groups, parts, folds = (
        None if values is None else values[kept]
        for values in (labelled.groups, labelled.parts, labelled.folds)
    )
    if dataset.groups is not None:  # of DICOM files
        groups = dataset.groups if groups is None else merge_groups(groups, dataset.groups)
    column = f"column {labelled.use.part_column} of {labelled.use.name}"
    if parts is not None:
        require_trained(parts, labels, layout.class_names, column)
    if folds is not None:
        for fold in np.unique(folds):
            in_parts = np.where(folds == fold, "test", "train")
            require_trained(in_parts, labels, layout.class_names, f"{column} beside fold {fold}")
    if labelled.elsewhere:
        pairs = [f"{printable(id)} for {printable(image)}" for image, id in labelled.elsewhere]
        text = f"{labelled.use.name}: {len(pairs):,} rows name other folders than their images are in"
        warnings.warn(f"{text}: {listed(pairs, 3)}", stacklevel=3)
    return dataset._replace(
        labels=labels,
        class_names=layout.class_names,
        split=parts,
        folds=folds,
        groups=groups,
        grouped_by=dataset.grouped_by if labelled.groups is None else ("user",),
        table=labelled.use,
    )


def _labels_of(labelled: Labelled) -> AnyLabels:
    if labelled.matrix is not None:
        return labelled.matrix
    label_of = {name: label for label, name in enumerate(labelled.layout.class_names)}
    return np.array([label_of[image.class_name] for image in labelled.layout.images], np.int32)


def _conflicts(dataset: Dataset, labels: AnyLabels, layout: Layout, labelled: Labelled) -> list[Problem]:
    """A problem for each image with the pixels of another one and another label."""
    problems = []
    names_of = describe_labels(labels, layout.class_names)
    for first, *others in find_conflicts(dataset.digests, label_sets(labels)):
        for other in others:
            if names_of(other) != names_of(first):
                names = f"{names_of(other)} and {names_of(first)}"
                reason = f"has the same pixels as {dataset.ids[first]} under another label: {names}"
                remedy = f"correct {labelled.use.name}, or take both out of it and give --allow-missing"
                problems.append(Problem(str(dataset.ids[other]), reason, remedy))
    return problems
