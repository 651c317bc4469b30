"""A network as a tree of layers, from which the Linen module and, in a peer's process, the PyTorch module are built.

Plain data that JSON can hold, and no library of arrays: both processes import it. Images are square; what is called a
side, a kernel or a window is so in height and width.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple


@dataclasses.dataclass(frozen=True)
class Layer:
    """One of the layers below."""


@dataclasses.dataclass(frozen=True)
class Conv(Layer):
    """A convolution; depthwise where `groups` is the number of its channels."""

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int | Literal["SAME", "VALID"] = "SAME"  # a number pads all four edges
    dilation: int = 1
    groups: int = 1
    use_bias: bool = False


@dataclasses.dataclass(frozen=True)
class Norm(Layer):
    """A normalization with scale and bias: over the batch, over groups of channels, or over the channels of a pixel."""

    kind: Literal["batch", "group", "layer"]
    groups: int = 1  # of "group" alone


@dataclasses.dataclass(frozen=True)
class Activation(Layer):
    """A function of each number; GELU by its approximation with tanh."""

    kind: Literal["relu", "relu6", "gelu", "silu", "sigmoid"]


@dataclasses.dataclass(frozen=True)
class Pool(Layer):
    """The largest or the mean of each window; padding counts in no maximum, and as zeros in a mean."""

    kind: Literal["max", "average"]
    window: int = 2
    stride: int = 2
    padding: int = 0


@dataclasses.dataclass(frozen=True)
class GlobalMean(Layer):
    """The mean over an image's pixels; with `keeps_axes` as an image of one pixel."""

    keeps_axes: bool = False


@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """All numbers of an image in one row."""


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """A dense layer with bias; of an image, over the channels of each pixel."""

    features: int


@dataclasses.dataclass(frozen=True)
class Chain(Layer):
    """One after the other."""

    layers: tuple[Layer, ...]


@dataclasses.dataclass(frozen=True)
class Residual(Layer):
    """The sum of a branch and of a shortcut, which is the input itself where it has no layers."""

    branch: Chain
    shortcut: Chain = Chain(())


@dataclasses.dataclass(frozen=True)
class Gate(Layer):
    """The input times what a branch says of it, as squeeze-and-excitation does."""

    branch: Chain


@dataclasses.dataclass(frozen=True)
class Concatenate(Layer):
    """What all branches say of the input, their channels one after the other."""

    branches: tuple[Chain, ...]


class Traced(NamedTuple):
    """What comes of one image."""

    shape: tuple[int, ...]  # height, width, channel; or a row's length
    multiplications: int  # of convolutions and dense layers, forward


def trace(layer: Layer, shape: tuple[int, ...]) -> Traced:
    """The layer's output for an image of `shape`; ValueError where a window does not fit."""
    *sides, channels = shape
    match layer:
        case Conv():
            extent = (layer.kernel - 1) * layer.dilation + 1
            sides = [_count_windows(side, extent, layer.stride, layer.padding) for side in sides]
            taps = layer.kernel**2 * channels // layer.groups
            return Traced((*sides, layer.features), math.prod(sides) * taps * layer.features)
        case Pool():
            return Traced(
                (
                    *(_count_windows(side, layer.window, layer.stride, layer.padding) for side in sides),
                    channels,
                ),
                0,
            )
        case Dense():
            return Traced((*sides, layer.features), math.prod(shape) * layer.features)
        case GlobalMean():
            return Traced((1, 1, channels) if layer.keeps_axes else (channels,), 0)
        case Flatten():
            return Traced((math.prod(shape),), 0)
        case Chain():
            total = 0
            for each in layer.layers:
                shape, multiplications = trace(each, shape)
                total += multiplications
            return Traced(shape, total)
        case Residual():
            branches = trace(layer.branch, shape), trace(layer.shortcut, shape)
            return Traced(branches[0].shape, sum(each.multiplications for each in branches))
        case Gate():
            return Traced(shape, trace(layer.branch, shape).multiplications)
        case Concatenate():
            each = [trace(branch, shape) for branch in layer.branches]
            *sides, _ = each[0].shape
            channels = sum(branch.shape[-1] for branch in each)
            return Traced((*sides, channels), sum(branch.multiplications for branch in each))
    return Traced(shape, 0)


def _count_windows(side: int, extent: int, stride: int, padding: int | str) -> int:
    if padding == "SAME":
        return -(-side // stride)
    count = (side + 2 * (padding if isinstance(padding, int) else 0) - extent) // stride + 1
    if count < 1:
        raise ValueError(f"a window of {extent} does not fit into a side of {side}")
    return count


_KINDS: dict[str, type[Layer]] = {kind.__name__: kind for kind in Layer.__subclasses__()}


def as_json(layer: Layer) -> dict[str, Any]:
    """A layer as JSON can hold it."""

    def convert(value: Any) -> Any:
        if isinstance(value, tuple):
            return [convert(each) for each in value]
        return as_json(value) if isinstance(value, Layer) else value

    fields = {field.name: convert(getattr(layer, field.name)) for field in dataclasses.fields(layer)}
    return {"layer": type(layer).__name__, **fields}


def from_json(value: dict[str, Any]) -> Layer:
    """The layer that `as_json` was given."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(convert(each) for each in value)
        return from_json(value) if isinstance(value, dict) else value

    fields = {name: convert(each) for name, each in value.items() if name != "layer"}
    return _KINDS[value["layer"]](**fields)
