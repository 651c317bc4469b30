"""A network as a tree of layers, from which the Linen module and, in a peer's process, the PyTorch module are built.

Plain data that JSON can hold, and no library of arrays: both processes import it. Images are square; what is called a
side, a kernel or a window is so in height and width.
"""

import dataclasses
from typing import Any, Literal


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
