"""Networks that nobody tuned for: layers, their sizes and the images drawn at random from a seed."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from benchmarks.architectures import NUM_CLASSES, Architecture
from benchmarks.layers import (
    Activation,
    Chain,
    Concatenate,
    Conv,
    Dense,
    Flatten,
    Gate,
    GlobalMean,
    Layer,
    Norm,
    Pool,
    Residual,
    trace,
)

FEATURES = (8, 12, 16, 24, 32, 40, 48, 64, 96)
BATCH_SIZE = 64
GOAL = 0.7
# Of an image: a step takes well under a second, and is more than calls of layers.
MULTIPLICATIONS = range(2_000_000, 60_000_000)
MAX_NUMBERS = 100_000  # that a block puts out
MAX_CHANNELS = 256
MIN_SIDE = 4  # less would leave the later blocks nothing to compute

Shape = tuple[int, ...]  # height, width, channel
Parts = tuple[Layer, ...]
T = TypeVar("T")


def draw_architectures(seed: int, count: int) -> dict[str, Architecture]:
    """By name; the first are the same however many are drawn."""
    return {f"random-{seed}-{number}": _Draw(seed, number).architecture() for number in range(count)}


class _Draw:
    def __init__(self, seed: int, number: int) -> None:
        self._generator = np.random.default_rng((seed, number))

    def architecture(self) -> Architecture:
        """The first that is large enough."""
        while True:
            side, channels = int(self._generator.integers(28, 65)), self._choose((1, 3))
            tree = self._network((side, side, channels))
            if trace(tree, (side, side, channels)).multiplications in MULTIPLICATIONS:
                return Architecture(tree, side, channels, BATCH_SIZE, GOAL)

    def _network(self, shape: Shape) -> Chain:
        """A stem, 6 to 12 blocks of which those stay that fit, and a head."""
        stem = Conv(self._choose(FEATURES[:4]), self._choose((2, 3, 5, 7)), self._choose((1, 2)))
        parts: Parts = (stem, *self._norm(stem.features), *self._activation())
        blocks = (self._conv, self._conv, self._residual, self._residual)
        blocks += (self._separable, self._branches, self._pool, self._gate)
        for _ in range(int(self._generator.integers(6, 13))):
            longer = (*parts, *self._choose(blocks)(trace(Chain(parts), shape).shape))
            if _fits(longer, shape):
                parts = longer
        return Chain((*parts, *self._head(trace(Chain(parts), shape).shape)))

    def _choose(self, values: Sequence[T]) -> T:
        return values[int(self._generator.integers(len(values)))]

    def _conv(self, shape: Shape) -> Parts:
        """Any convolution: one in four depthwise, one in four grouped."""
        *_, channels = shape
        kernel, stride, features = (
            self._choose((1, 2, 3, 3, 5, 7)),
            self._choose((1, 1, 2)),
            self._choose(FEATURES),
        )
        dilation = self._choose((1, 1, 2)) if kernel > 1 and stride == 1 else 1
        groups = self._choose((1, 1, channels, self._divisor(channels)))
        if groups == channels > 1:
            features = channels
        elif features % groups:
            groups = 1
        padding = self._choose(("SAME", "VALID", (kernel - 1) * dilation // 2))
        return self._normed(Conv(features, kernel, stride, padding, dilation, groups))

    def _residual(self, shape: Shape) -> Parts:
        """Two convolutions beside the input, which a third one shapes where the sum would not fit."""
        *_, channels = shape
        stride, features = self._choose((1, 1, 2)), self._choose((channels, channels, *FEATURES))
        branch = (
            *self._normed(Conv(self._choose(FEATURES), self._choose((1, 3, 5)), stride)),
            *self._normed(Conv(features, self._choose((1, 3))))[:-1],
        )
        is_same = (stride, features) == (1, channels)
        shortcut = () if is_same else (Conv(features, 1, stride),)
        return (Residual(Chain(branch), Chain(shortcut)), *self._activation())

    def _separable(self, shape: Shape) -> Parts:
        """A depthwise convolution, then one over the channels of each pixel."""
        *_, channels = shape
        depthwise = Conv(channels, self._choose((3, 5, 7)), self._choose((1, 1, 2)), groups=channels)
        return (*self._normed(depthwise), *self._normed(Conv(self._choose(FEATURES), 1)))

    def _branches(self, shape: Shape) -> Parts:
        """The input, or convolutions of it, beside other convolutions and a pool."""
        few = FEATURES[:5]
        first: Parts = self._choose(((), self._normed(Conv(self._choose(few), 1))))
        second = self._normed(Conv(self._choose(few), self._choose((3, 5))))
        third = (Pool(self._choose(("max", "average")), 3, 1, 1), Conv(self._choose(few), 1))
        return (Concatenate(tuple(Chain(each) for each in (first, second, third))),)

    def _pool(self, shape: Shape) -> Parts:
        window = self._choose((2, 3))
        return (Pool(self._choose(("max", "average")), window, self._choose((1, 2)), self._choose((0, 1))),)

    def _gate(self, shape: Shape) -> Parts:
        *_, channels = shape
        fewer = (Conv(max(4, channels // 4), 1, use_bias=True), *self._activation())
        whole = (Conv(channels, 1, use_bias=True), Activation("sigmoid"))
        return (Gate(Chain((GlobalMean(keeps_axes=True), *fewer, *whole))),)

    def _head(self, shape: Shape) -> Parts:
        row: Layer = Flatten() if np.prod(shape) <= 4096 and self._choose((True, False)) else GlobalMean()
        hidden = self._choose(((), (Dense(96), *self._activation())))
        return (row, *hidden, Dense(NUM_CLASSES))

    def _normed(self, conv: Conv) -> Parts:
        return (conv, *self._norm(conv.features), *self._activation())

    def _norm(self, channels: int) -> Parts:
        kind = self._choose(("batch", "batch", "group", "layer", None))
        return () if kind is None else (Norm(kind, self._divisor(channels) if kind == "group" else 1),)

    def _activation(self) -> Parts:
        return (Activation(self._choose(("relu", "relu", "gelu", "silu"))),)

    def _divisor(self, channels: int) -> int:
        return self._choose([count for count in (1, 2, 4, 8) if channels % count == 0][-2:])


def _fits(parts: Parts, shape: Shape) -> bool:
    try:
        (side, _, channels), multiplications = trace(Chain(parts), shape)
    except ValueError:  # a window is larger than what is left
        return False
    is_small = channels <= MAX_CHANNELS and side * side * channels <= MAX_NUMBERS
    return side >= MIN_SIDE and is_small and multiplications < MULTIPLICATIONS.stop
