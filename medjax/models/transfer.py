"""Published weights as variables of our networks: every number filled exactly once, or a refusal that lists what is not."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from medjax.errors import Problem, RefusedError, counted, refuse
from medjax.models.layers import SMALL_SIDE
from medjax.models.network import Variables
from medjax.models.vgg import HEAD_SIDE
from medjax.models.weight_names import FIRST_KERNELS, RULES, UNUSED, path_of

WITH_STEMS = ("resnet18", "resnet50", "densenet121")
"""Networks whose setting `stem` chooses among first convolutions of different sizes."""

_LOGITS = ("head/logits/kernel", "head/logits/bias")
_HIDDEN = ("head/hidden_0/kernel", "head/hidden_0/bias", "head/hidden_1/kernel", "head/hidden_1/bias")
_POSITIONS = "features/pos_embed"

Shape = tuple[int, ...]
Leaf = jax.Array | jax.ShapeDtypeStruct


class Transferred(NamedTuple):
    """Variables filled from published weights."""

    variables: Variables
    notes: list[str]  # what was not taken as it stands, a sentence each


class _Entry(NamedTuple):
    name: str  # in the weights
    array: np.ndarray  # in our layout


def transfer(variables: Variables, weights: Mapping[str, np.ndarray], *, model: str) -> Transferred:
    """The variables of a network of `MODELS`, maybe abstract ones, filled from weights that PyTorch libraries publish for it.

    `weights` has their names: of torchvision, timm, or lukemelas's EfficientNet. Every parameter and batch statistic is filled
    exactly once and every entry is used, but for counters of batches. The last layer keeps its values where it has another
    number of classes or the weights have none; hidden layers that `vgg16` does without for small images are not used. The
    first convolution is fitted to the number of channels as timm does it: its weights are summed for gray images, else
    repeated and scaled by 3/n. Positions of `vit_tiny` are resized. All of that is said in `notes`.

    Raises RefusedError with every parameter that is not filled and every entry that fits nowhere. One of these is the first
    convolution where it has another size, as `vit_tiny`'s has for images below 64 pixels a side, and ResNet's and DenseNet's
    with another stem.
    """
    if model not in RULES:
        raise refuse("--pretrained", f"no published weights fit {model}", f"--model {', '.join(RULES)}")
    shapes = dict(_shapes(variables))
    entries, problems = _by_path(weights, model)
    left, notes = _set_aside(entries, shapes)
    wanted = {path: shape for path, shape in shapes.items() if path not in left}
    given = {path: entry for path, entry in entries.items() if path not in left}
    filled: dict[str, np.ndarray] = {}
    for path in [each for each in wanted if each in given]:
        filled[path], note = _fitted(path, given[path].array, wanted[path], model)
        notes += [note] if note else []
    problems += _unfit(filled, wanted, given, model)
    if problems:
        raise RefusedError(problems)
    return Transferred(_replace(variables, filled), notes)


def _unfit(
    filled: Mapping[str, np.ndarray], wanted: Mapping[str, Shape], given: Mapping[str, _Entry], model: str
) -> Iterator[Problem]:
    """What is not given, given for nothing, or of another shape."""
    remedy = f"give weights of {model}"
    for path, shape in wanted.items():
        if path not in filled:
            yield Problem(path, "is not in the weights", remedy)
        elif filled[path].shape != shape:
            yield _misfit(path, filled[path].shape, shape, model)
    for path, entry in given.items():
        if path not in wanted:
            yield Problem(entry.name, f"is no parameter of {model}", remedy)


def _shapes(variables: Variables) -> Iterator[tuple[str, Shape]]:
    """Shapes of parameters and batch statistics by path; no layer has two of them under one name."""
    for tree in (variables.parameters, *variables.state.values()):
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
            yield _path(keys), leaf.shape


def _path(keys: tuple) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _replace(variables: Variables, filled: Mapping[str, np.ndarray]) -> Variables:
    """The variables with the values of `filled` at their paths."""

    def value(keys: tuple, leaf: Leaf) -> Leaf:
        path = _path(keys)
        return jnp.asarray(filled[path], leaf.dtype) if path in filled else leaf

    def replaced(tree: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(value, tree)

    state = {name: replaced(tree) for name, tree in variables.state.items()}
    return Variables(replaced(variables.parameters), state)


def _by_path(weights: Mapping[str, np.ndarray], model: str) -> tuple[dict[str, _Entry], list[Problem]]:
    """The entries by our paths, and those among them that are given twice or hold what is no number."""
    entries: dict[str, _Entry] = {}
    problems = []
    for name, array in weights.items():
        if UNUSED.search(name):
            continue
        path = path_of(model, name, array.ndim)
        if path in entries:
            reason = f"is the same parameter as {entries[path].name}"
            problems.append(Problem(name, reason, "leave one of them out"))
        if not np.isfinite(array).all():
            problems.append(Problem(name, "holds numbers that are not finite", "give other weights"))
        entries.setdefault(path, _Entry(name, _to_our_layout(path, array)))
    return entries, problems


def _to_our_layout(path: str, array: np.ndarray) -> np.ndarray:
    """From (output, input, height, width) or (output, input) to (height, width, input, output) or (input, output)."""
    if not path.endswith("/kernel"):
        return array
    places = HEAD_SIDE**2
    if path == _HIDDEN[0] and array.ndim == 2 and array.shape[1] % places == 0:
        # PyTorch flattens maps feature by feature.
        array = array.reshape(len(array), -1 if array.size else 0, HEAD_SIDE, HEAD_SIDE)
    if array.ndim != 4:
        return array.T
    array = array.transpose(2, 3, 1, 0)
    is_dense = path.startswith("head/")  # timm writes dense layers of VGG as convolutions
    return array.reshape(math.prod(array.shape[:3]), array.shape[3]) if is_dense else array


def _set_aside(entries: Mapping[str, _Entry], shapes: Mapping[str, Shape]) -> tuple[set[str], list[str]]:
    """Paths that are neither filled nor used, and why."""
    left: set[str] = set()
    notes = []
    num_classes = shapes[_LOGITS[0]][-1]
    found = entries[_LOGITS[1]].array.size if _LOGITS[1] in entries else None
    if found != num_classes:
        left |= set(_LOGITS)
        reason = "the weights have none" if found is None else f"the weights have {counted(found, 'class')}"
        notes.append(f"head/logits starts fresh: {reason}, this network {num_classes}")
    if _HIDDEN[0] in entries and _HIDDEN[0] not in shapes:
        left |= set(_HIDDEN)
        notes.append(
            f"hidden layers of the head are not used: this one has none below {SMALL_SIDE} pixels a side"
        )
    return left, notes


def _fitted(path: str, array: np.ndarray, shape: Shape, model: str) -> tuple[np.ndarray, str | None]:
    """The array fitted to a number of channels or of positions, and in words what was done; else as it is."""
    if path == FIRST_KERNELS[model] and _differ_only_along(2, array.shape, shape):
        fitted, how = _fitted_to_channels(array, shape[2])
        return fitted, f"{path} is {how}"
    if path == _POSITIONS and _differ_only_along(1, array.shape, shape):
        old, new = (math.isqrt(num_tokens - 1) for num_tokens in (array.shape[1], shape[1]))
        if old and (old**2 + 1, new**2 + 1) == (array.shape[1], shape[1]):
            note = f"{path} is resized from {old} × {old} to {new} × {new} positions"
            return _resized_positions(array, old, new), note
    return array, None


def _differ_only_along(axis: int, found: Shape, wanted: Shape) -> bool:
    differing = [index for index, sides in enumerate(zip(found, wanted, strict=False)) if len(set(sides)) > 1]
    return len(found) == len(wanted) and differing == [axis] and found[axis] > 0


def _fitted_to_channels(kernel: np.ndarray, wanted: int) -> tuple[np.ndarray, str]:
    """The kernel for so many channels, its response to equal channels kept as far as may be."""
    found = kernel.shape[2]
    if wanted == 1:
        return kernel.sum(axis=2, keepdims=True), f"the sum over {found} channels, for gray images"
    repeated = np.take(kernel, np.arange(wanted) % found, axis=2) * np.float32(found / wanted)
    return repeated, f"repeated for {wanted} channels and scaled by {found}/{wanted}"


def _resized_positions(array: np.ndarray, old: int, new: int) -> np.ndarray:
    """One position for each of new × new patches by cubic interpolation; that of the class token comes first and stays."""
    token, grid = array[:, :1], array[:, 1:].reshape(old, old, -1)
    with jax.ensure_compile_time_eval():
        resized = jax.image.resize(grid, (new, new, grid.shape[-1]), "cubic")
    return np.concatenate((token, np.asarray(resized).reshape(1, new * new, -1)), axis=1)


def _misfit(path: str, found: Shape, wanted: Shape, model: str) -> Problem:
    if path == FIRST_KERNELS[model] and len(found) == 4 and found[:2] != wanted[:2]:
        here, there = (" × ".join(map(str, shape[:2])) for shape in (wanted, found))
        remedies = {
            **dict.fromkeys(WITH_STEMS, ("--model-set stem=imagenet", "--model-set stem=small")),
            "vit_tiny": (f"--image-size {SMALL_SIDE} or more", f"--image-size below {SMALL_SIDE}"),
        }
        remedy = remedies.get(model, (f"weights of {model}",) * 2)[found[:2] < wanted[:2]]
        return Problem(path, f"is {there} pixels in the weights, {here} in this network", f"give {remedy}")
    return Problem(path, f"has the shape {found} in the weights, {wanted} here", f"give weights of {model}")
