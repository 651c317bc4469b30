"""A data set from arrays in memory, checked as strictly as one from files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from medjax.data.decoding.collect import find_conflicts, warn_of_conflicts
from medjax.data.decoding.image import digest_stack
from medjax.data.label_matrix import as_matrix, is_one_class_each, require_label_names, warn_of_odd_rows
from medjax.data.reading.names import class_name_fault
from medjax.data.splitting import duplicates
from medjax.data.splitting.apportion import number_groups
from medjax.errors import Problem, RefusedError, counted, is_unicode, listed, refuse
from medjax.records import (
    AnyLabels,
    Dataset,
    Images,
    LabelMatrix,
    Labels,
    LoadCounts,
    Names,
    Split,
    count_labels,
    label_sets,
)

_SHAPES = "(n, height, width) for gray, or (n, height, width, channels) with 1 or 3 channels"


def make_dataset(
    images: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    ids: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    split: Iterable[str] | None = None,
    name: str = "arrays",
    group_duplicates: Literal["none", "exact"] = "exact",
) -> Dataset:
    """A data set from NumPy or JAX arrays or lists, in their order; images are not copied or resized.

    `images` are uint8 from 0 to 255, (n, height, width) for gray or (n, height, width, channels) with 1 or 3 channels.
    `labels` are n whole numbers from 0 that index `class_names`, by default "0", "1" and so on; or, of several labels an
    image, (n, k): 1 where the image has a label, 0 where it has not, -1 or NaN where that is not known. For each image, `ids`
    gives a unique name (by default its number), `groups` what must stay together (patient, lesion, scan), `split` the
    official part: "train", "val" or "test". Identical images are grouped as well unless `group_duplicates` is "none";
    under different labels they are counted in a warning. Raises RefusedError for anything else, before computing.
    """
    pixels = check_images(images)
    numbers = _check_labels(labels, len(pixels))
    names = (
        _check_classes(class_names, numbers) if numbers.ndim == 1 else _check_columns(class_names, numbers)
    )
    ids = [f"{index:06}" for index in range(len(pixels))] if ids is None else ids
    checked_ids = _check_ids(ids, len(pixels))
    checked_groups = None if groups is None else _check_groups(groups, len(pixels))
    parts = None if split is None else _check_parts(split, numbers, names)
    digests = digest_stack(pixels)
    dataset = Dataset(
        images=pixels,
        labels=numbers,
        class_names=names,
        ids=checked_ids,
        digests=digests,
        name=name,
        split=parts,
        groups=checked_groups,
        counts=LoadCounts(conflicting=sum(map(len, find_conflicts(digests, label_sets(numbers))))),
        grouped_by=() if checked_groups is None else ("user",),
    )
    warn_of_conflicts(dataset)
    warn_of_odd_rows(dataset)
    return duplicates.group_duplicates(dataset, group_duplicates, 0.0)


def _as_array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:  # nested lists of unequal lengths
        raise refuse(name, "do not have one common shape", "make them one array") from None


def check_images(images: Any) -> Images:
    """Images as uint8 [n, height, width, channels] with 1 or 3 channels; RefusedError for any others."""
    array = _as_array("images", images)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise refuse("images", f"have shape {array.shape}", f"give {_SHAPES}")
    if array.shape[-1] not in (1, 3):
        is_channels_first = array.shape[1] in (1, 3)
        remedy = "put channels last: np.moveaxis(images, 1, -1)" if is_channels_first else f"give {_SHAPES}"
        raise refuse("images", f"have shape {array.shape}, so {array.shape[-1]} channels", remedy)
    if array.size == 0:
        raise refuse("images", f"are empty: shape {array.shape}", "give at least one pixel of one image")
    if array.dtype != np.uint8:
        raise _wrong_type(array)
    return array


def _wrong_type(images: np.ndarray) -> RefusedError:
    """The refusal of images that are not uint8, with the conversion that their range suggests."""
    if images.dtype.kind not in "biuf":
        return refuse("images", f"are of type {images.dtype}", "give uint8 from 0 to 255")
    low, high = images.min(), images.max()
    convert = "scale them to 0 to 255, then np.round(images).astype(np.uint8)"
    if images.dtype.kind in "bf" and low >= 0 and high <= 1:
        convert = "such as np.round(255.0 * images).astype(np.uint8)"
    elif images.dtype.kind in "iu" and low >= 0 and high <= 255:
        convert = "such as images.astype(np.uint8)"
    return refuse(
        "images", f"are {images.dtype} from {low} to {high}", f"give uint8 from 0 to 255: {convert}"
    )


def _check_labels(labels: Any, num_images: int) -> AnyLabels:
    array = _as_array("labels", labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and len(array) == num_images:
        matrix = as_matrix(array, "labels")
        if not is_one_class_each(matrix):
            return matrix
    if array.ndim != 1:
        hint = "; of one-hot rows, labels.argmax(axis=1)" if array.ndim == 2 else ""
        raise refuse("labels", f"have shape {array.shape}", f"give one label per image, (n,) or (n, 1){hint}")
    if len(array) != num_images:
        raise refuse(
            "labels", f"are {len(array):,} for {counted(num_images, 'image')}", "give one label per image"
        )
    if array.dtype.kind not in "biuf":
        remedy = "number them: class_names, labels = np.unique(labels, return_inverse=True)"
        raise refuse("labels", f"are of type {array.dtype}, not numbers", remedy)
    unfit = array[~(np.isfinite(array) & (array >= 0) & (array < 2**31))]
    unfit = unfit if len(unfit) else array[array != np.floor(array)]
    if len(unfit):
        raise refuse("labels", f"contain {unfit[0]}", "give whole numbers from 0")
    return array.astype(np.int32)


def _check_classes(class_names: Sequence[str] | None, labels: Labels) -> tuple[str, ...]:
    present = np.unique(labels)
    count = len(present) if class_names is None else len(class_names)
    if count < 2:
        raise refuse(
            "labels" if class_names is None else "class_names", "contain only one class", "give at least two"
        )
    if present[-1] >= count:
        hint = ", such as labels - 1" if present[0] == 1 else ""
        remedy = f"number the classes from 0 to {count - 1}{hint}"
        if class_names is not None:
            reason = f"contain {present[-1]}, but there {'is' if count == 1 else 'are'} {counted(count, 'class name')}"
            raise refuse("labels", reason, f"{remedy}, or name every class")
        missing = np.setdiff1d(np.arange(count), present)[0]
        raise refuse("labels", f"contain {present[-1]}, but no {missing}", remedy)
    if class_names is None:
        return tuple(map(str, range(count)))
    return _check_names(tuple(map(str, class_names)))


def _check_columns(class_names: Sequence[str] | None, labels: LabelMatrix) -> tuple[str, ...]:
    if class_names is None:
        return tuple(map(str, range(labels.shape[1])))
    names = tuple(map(str, class_names))
    if len(names) != labels.shape[1]:
        reason = f"have {counted(labels.shape[1], 'column')} for {counted(len(names), 'class name')}"
        raise refuse("labels", reason, "name each column")
    require_label_names(names, "class_names")
    return names


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    problems = [
        Problem(f"class {name!r}", fault.reason, "rename it")
        for name in names
        if (fault := class_name_fault(name)) is not None
    ]
    if "" in names:
        problems.append(Problem("class_names", f"are empty for class {names.index('')}", "name every class"))
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        problems.append(Problem("class_names", f"name {listed(twice)} twice", "give each class its own name"))
    if problems:
        raise RefusedError(problems)
    return names


def _one_each(name: str, values: Iterable[Any], num_images: int) -> list[Any]:
    found = np.asarray(values).tolist() if hasattr(values, "__array__") else list(values)
    if len(found) != num_images:
        raise refuse(
            name, f"are {len(found):,} for {counted(num_images, 'image')}", "give one for each image"
        )
    return found


def _check_ids(ids: Iterable[Any], num_images: int) -> Names:
    found = _as_texts("ids", _one_each("ids", ids, num_images))
    if "" in found:
        raise refuse("ids", f"are empty for image {found.index('')}", "name every image")
    if len(set(found)) < num_images:
        (twice, _), *_ = Counter(found).most_common(1)
        raise refuse("ids", f"contain {twice} twice", "name every image differently")
    return np.array(found)


def _check_groups(groups: Iterable[Any], num_images: int) -> Names:
    found = np.empty(num_images, object)
    found[:] = _one_each("groups", groups, num_images)
    number_groups(found)  # raises for an image without a group
    return np.array(_as_texts("groups", found))


def _as_texts(name: str, values: Iterable[Any]) -> list[str]:
    """The values as texts, which NumPy and files in UTF-8 give back as they are."""
    texts = [str(value) for value in values]
    for text in texts:
        # NumPy drops NULs at the end, so that two names might become one.
        if "\0" in text or not is_unicode(text):
            reason = f"contain {text!r}, which holds a NUL or half a character (an unpaired surrogate)"
            raise refuse(name, reason, "give other names")
    return texts


def _check_parts(split: Iterable[str], labels: AnyLabels, class_names: Sequence[str]) -> Names:
    parts = np.array([str(part) for part in _one_each("split", split, len(labels))])
    unknown = np.setdiff1d(parts, Split._fields).tolist()
    if unknown:
        raise refuse("split", f"contains {listed(unknown)}", 'give "train", "val" or "test" for each image')
    if "train" not in parts or len({*parts}) < 2:
        missing = "train" if "train" not in parts else "test or val"
        remedy = "give train and test or val images, or all three, or leave split out"
        raise refuse("split", f"has no {missing} images", remedy)
    require_trained(parts, labels, class_names, "split")
    return parts


def require_trained(parts: Names, labels: AnyLabels, class_names: Sequence[str], name: str) -> None:
    """RefusedError for every class, or label, without an image in the train part; `name` is that of what gives the parts."""
    trained, found = (count_labels(each, len(class_names)) for each in (labels[parts == "train"], labels))
    untrained = np.flatnonzero((trained == 0) & (found > 0)).tolist()
    noun = "class" if labels.ndim == 1 else "label"
    if untrained:
        raise RefusedError(
            Problem(
                f"{noun} {class_names[label]}", f"has no train images in {name}", f"give every {noun} some"
            )
            for label in untrained
        )
