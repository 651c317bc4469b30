"""A network trained and asked by the programs that `medjax.fit` and `medjax.predict` run."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.architectures import NUM_CLASSES
from benchmarks.layers import Layer
from benchmarks.linen_network import LinenNetwork
from medjax.metrics import zero_sums
from medjax.records import Split
from medjax.training.compilation import Lifted, compile_program, compiler_options
from medjax.training.fold_plan import FoldPlan, evaluation_batch, make_plan
from medjax.training.folds import Controls, init_fold, run_steps
from medjax.training.learner import Learner, make_learner
from medjax.training.optimizers import make_adam
from medjax.training.predict import predict

MAX_STEPS = 1024  # a call


class MedjaxNetwork:
    """Training goes on where the last call ended, batch statistics included."""

    def __init__(self, tree: Layer, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.evaluation_batch = evaluation_batch()
        self._learner = make_learner(LinenNetwork(tree), make_adam(1e-3))
        self._arrays = jnp.asarray(images), jnp.asarray(labels)
        self._plan = _make_plan(len(images), batch_size)
        self._program = make_program(self._learner, batch_size)
        init = compile_program(functools.partial(_init, self._learner, images.shape), effort=0)
        self._state = jax.block_until_ready(init(self._plan.key))

    def train(self, steps: int) -> float:
        """Seconds of so many steps."""
        sums = zero_sums(NUM_CLASSES)
        started = time.perf_counter()
        self._state, _ = jax.block_until_ready(
            self._program(*self._arrays, 0, steps, self._plan, self._state, sums)
        )
        seconds = time.perf_counter() - started
        if self._state.diverged:  # the steps after that are left out
            raise RuntimeError("the network diverged")
        return seconds

    def predict(self, steps: int) -> float:
        """Seconds for the probabilities of so many batches of `evaluation_batch`."""
        indices = np.arange(steps * self.evaluation_batch) % len(self._arrays[0])
        variables = self._state.learner.variables
        started = time.perf_counter()
        predict(self._learner, variables, self._arrays, indices)
        return time.perf_counter() - started


def make_program(learner: Learner, batch_size: int, *, stock: bool = False) -> Lifted:
    """The program of training steps; with `stock` as JAX itself compiles it, by the same options."""
    steps = functools.partial(run_steps, learner, batch_size)
    if stock:
        return jax.jit(steps, donate_argnums=5, compiler_options=compiler_options())
    return compile_program(steps, donate=(5,))


def describe_arguments(
    tree: Layer, image_shape: tuple[int, ...], batch_size: int
) -> tuple[Learner, tuple[Any, ...]]:
    """A learner, and arguments of its program to compile it for; `image_shape` is (n, height, width, channel)."""
    learner = make_learner(LinenNetwork(tree), make_adam(1e-3))
    plan = _make_plan(image_shape[0], batch_size)
    state = jax.eval_shape(functools.partial(_init, learner, image_shape), plan.key)
    images = jax.ShapeDtypeStruct(image_shape, jnp.uint8)
    labels = jax.ShapeDtypeStruct(image_shape[:1], jnp.int32)
    return learner, (images, labels, 0, 1, plan, state, zero_sums(NUM_CLASSES))


def _init(learner: Learner, image_shape: tuple[int, ...], key: Any) -> Any:
    return init_fold(key, learner, Controls(), image_shape)


def _make_plan(num_images: int, batch_size: int) -> FoldPlan:
    """A plan of one fold with enough steps for a call: the images again and again."""
    none = np.zeros(0, int)
    split = Split(np.arange(MAX_STEPS * batch_size) % num_images, none, none)
    return jax.tree.map(lambda leaf: leaf[0], make_plan([split], seed=0, batch_size=batch_size))
