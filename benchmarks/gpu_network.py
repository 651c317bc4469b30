"""Networks trained, cross-validated and asked by the programs that `medjax.fit` runs, in a chosen arithmetic.

What medjax has no setting for is changed from outside, to see what it would bring.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.architectures import NUM_CLASSES, make_report_cnn, make_resnet
from benchmarks.layers import Chain, trace
from benchmarks.linen_network import LinenNetwork
from medjax.config import ComputeName
from medjax.metrics import zero_sums
from medjax.models.cnn import CNN
from medjax.models.cpu_kernels import twins
from medjax.records import Split
from medjax.training import compilation, folds
from medjax.training import predict as prediction
from medjax.training.augment import random_affine
from medjax.training.fold_plan import FoldPlan, make_plan
from medjax.training.folds import Controls
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from medjax.training.predict import predict
from medjax.training.programs import compile_epoch, compile_init
from medjax.training.strategies import StrategyName, select_fold

FREE = "medjax free"
"""The way of --no-deterministic."""
LARGE_BATCH = 1024
"""Images that the way "medjax large" scores at a time."""


def convolve_by_products(images: Array, kernel: Array) -> Array:
    """As the convolution of `medjax.models.cpu_kernels.twins`, by one product of matrices: stacked folds are batched products."""
    rows, columns, _, features = kernel.shape
    height, width = images.shape[1] - rows + 1, images.shape[2] - columns + 1
    shifted = [images[:, r : r + height, c : c + width] for r in range(rows) for c in range(columns)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, features)


def _deterministic_but_timed() -> Any:
    options = {"xla_gpu_exclude_nondeterministic_ops": True}
    return mock.patch.object(compilation, "compiler_options", return_value=options)


def _by_products() -> Any:
    return mock.patch.object(twins, "_convolve", convolve_by_products)


@contextlib.contextmanager
def _in_large_batches() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for module in (folds, prediction):
            stack.enter_context(mock.patch.object(module, "evaluation_batch", return_value=LARGE_BATCH))
        yield


# What is changed from outside while a program is compiled, by way.
CHANGES: dict[str, Callable[[], Any]] = {
    "medjax autotuned": _deterministic_but_timed,
    "vmap by products": _by_products,
    "medjax large": _in_large_batches,
}
MAX_STEPS = 4096  # a call
_MAX_ROWS = 2**22  # of all steps of a call


class Case(NamedTuple):
    """A network, its images and how it is trained."""

    name: str
    tree: Chain
    side: int  # of the images, in pixels
    channels: int
    batch_size: int
    mode: ComputeName
    dropout: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.side, self.side, self.channels

    @property
    def title(self) -> str:
        """The case in one line."""
        return f"{self.name} b{self.batch_size} {self.mode}"

    @property
    def forward_flop(self) -> int:
        """Floating-point operations of an image's logits."""
        return 2 * trace(self.tree, self.shape).multiplications

    @property
    def step_flop(self) -> int:
        """Those of a training step, an image: three times as many but for the gradient of the images."""
        return 3 * self.forward_flop - 2 * trace(Chain(self.tree.layers[:1]), self.shape).multiplications


def make_report_case(side: int, batch_size: int, mode: ComputeName) -> Case:
    """The report's network, medjax's built-in one."""
    return Case(f"cnn-{side}", make_report_cnn(), side, 1, batch_size, mode, dropout=0.5)


def make_resnet_case(
    width: int, blocks: tuple[int, ...], side: int, batch_size: int, mode: ComputeName
) -> Case:
    """A ResNet with a stem for small images; ResNet-18 where it is 64 wide and has four times two blocks."""
    name = "resnet18" if (width, blocks) == (64, (2, 2, 2, 2)) else f"resnet-w{width}"
    return Case(f"{name}-{side}", make_resnet(width, blocks), side, 3, batch_size, mode)


class GpuNetwork:
    """A network, or one for each of some folds. Training goes on where the last call ended."""

    def __init__(
        self,
        case: Case,
        num_images: int,
        *,
        way: str = "medjax",
        num_folds: int = 1,
        strategy: StrategyName = "loop",
    ) -> None:
        """`way` is "medjax", compiled as `fit` does by default, FREE, or one of CHANGES."""
        self._case, self._way = case, way
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (num_images, *case.shape), np.uint8)
        self._arrays = jax.device_put((images, generator.integers(0, NUM_CLASSES, num_images, np.int32)))
        self.max_steps = min(MAX_STEPS, max(2, _MAX_ROWS // case.batch_size))
        self._num_folds = num_folds
        augment = functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1)
        model = CNN(NUM_CLASSES) if case.tree == make_report_cnn() else LinenNetwork(case.tree)
        self._learner = make_learner(
            model, make_adam(1e-3), augment=augment, compute=case.mode, deterministic=way != FREE
        )
        self._plan = _make_plan(num_images, self.max_steps * case.batch_size, case.batch_size, num_folds)
        with self._compiling():
            programs = compile_epoch(
                self._learner, NUM_CLASSES, case.batch_size, self.max_steps, Controls(), strategy
            )
            init = compile_init(self._learner, images.shape, Controls(), False)
            self._state = jax.block_until_ready(init(self._plan.key))
        self._program = programs.run_chunk

    def compile(self) -> tuple[float, str]:
        """Compile the program of training steps: the seconds that took, and the program's text."""
        with self._compiling():
            started = time.perf_counter()
            compiled = self._program.lower(*self._arguments(1)).compile()
            return time.perf_counter() - started, compiled.as_text()

    def train(self, steps: int) -> float:
        """Seconds of so many steps of each fold."""
        with self._compiling():
            arguments = jax.block_until_ready(self._arguments(steps))
            started = time.perf_counter()
            self._state, _ = jax.block_until_ready(self._program(*arguments))
            seconds = time.perf_counter() - started
        if np.asarray(self._state.diverged).any():  # the steps after that are left out
            raise RuntimeError("the network diverged")
        return seconds

    def predict(self, num_images: int) -> float:
        """Seconds for the probabilities of so many images, on the host."""
        indices = np.arange(num_images) % len(self._arrays[0])
        variables = select_fold(self._state.learner.variables, 0)
        with self._compiling():
            started = time.perf_counter()
            predict(self._learner, variables, self._arrays, indices)
            return time.perf_counter() - started

    def _arguments(self, steps: int) -> tuple[Any, ...]:
        zeros = zero_sums(NUM_CLASSES)
        sums = jax.tree.map(lambda leaf: jnp.zeros((self._num_folds, *leaf.shape), leaf.dtype), zeros)
        bounds = jax.device_put((np.int32(0), np.int32(steps)))
        return (*self._arrays, *bounds, self._plan, self._state, sums)

    def _compiling(self) -> contextlib.AbstractContextManager[Any]:
        """What the way changes; for calls too, as those compile what was not compiled before."""
        return CHANGES.get(self._way, contextlib.nullcontext)()


def _make_plan(num_images: int, rows: int, batch_size: int, num_folds: int) -> FoldPlan:
    """A plan with enough rows for a call, the images again and again in random order."""
    none = np.zeros(0, int)
    order = np.random.default_rng(0).permutation(num_images)
    split = Split(np.resize(order, rows), none, none)
    return make_plan([split] * num_folds, seed=0, batch_size=batch_size)
