"""Strategies that lift a function of one fold to k folds. Per-fold arrays have a leading axis of folds.

All strategies compute the same numbers up to rounding. Only under `loop` and `threads` is the result of a fold bit-identical
whatever other folds there are: a batched matrix product may differ from a single one in its last bits.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from medjax.training.compilation import EXACT, Lifted, Numerics, compile_program

StrategyName = Literal["loop", "threads", "map", "vmap", "devices"]


class Strategy(Protocol):
    """Lifts `one_fold` to all folds.

    The first `num_shared` arguments are the same for every fold; each fold gets its slice of the others.
    `donate` lists the positions of arguments whose memory a call may reuse.
    """

    def __call__(
        self,
        one_fold: Callable[..., Any],
        *,
        num_shared: int,
        donate: Sequence[int] = (),
        numerics: Numerics = EXACT,
    ) -> Lifted:
        """Lift the function."""
        ...


def select_fold(tree: Any, fold: int) -> Any:
    """One fold of a tree whose leaves have a leading axis of folds, from 0."""
    return jax.tree.map(lambda leaf: leaf[fold], tree)


def stack_folds(trees: Sequence[Any]) -> Any:
    """The inverse of `select_fold`: trees of one fold each, in order, under a leading axis of folds."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class Loop:
    """A program with a leading axis of one fold, called once a fold."""

    def __init__(self, program: Any, num_shared: int, folds_at_once: int = 1) -> None:
        self.folds_at_once = folds_at_once  # each takes the program's memory
        self._program = program  # jitted
        self._num_shared = num_shared
        self._has_run = False

    def __call__(self, *arguments: Any) -> Any:
        """All folds, one after the other, or some at once in threads."""
        shared, per_fold = arguments[: self._num_shared], arguments[self._num_shared :]
        if _num_folds(per_fold) == 1:
            return self._program(*arguments)
        parts = _part(per_fold)
        results = []
        if self.folds_at_once == 1 or not self._has_run:  # threads would each compile what has not run yet
            count = len(parts) if self.folds_at_once == 1 else 1
            results = [self._program(*shared, *part) for part in parts[:count]]
            self._has_run = True
        if len(results) < len(parts):
            results += self._call_in_threads(shared, parts[len(results) :])
        return _join(results)

    def _call_in_threads(self, shared: Sequence[Any], parts: Sequence[Sequence[Any]]) -> list[Any]:
        # A thread's calls run in order, so each waits for its own.
        workers = ThreadPoolExecutor(self.folds_at_once, thread_name_prefix="fold")
        try:
            return list(workers.map(lambda part: jax.block_until_ready(self._program(*shared, *part)), parts))
        finally:
            workers.shutdown(cancel_futures=True)

    def lower(self, *arguments: Any) -> Any:
        """The program of one fold, lowered."""
        first = jax.eval_shape(lambda tree: _part(tree)[0], arguments[self._num_shared :])
        return self._program.lower(*arguments[: self._num_shared], *first)


# Compiled, because states have many leaves: a call for each leaf and fold would take longer than the copies.
@jax.jit
def _part(tree: Any) -> list[Any]:
    def select(fold: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[fold : fold + 1], tree)

    return [select(fold) for fold in range(_num_folds(tree))]


@jax.jit
def _join(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def loop(
    one_fold: Callable[..., Any],
    *,
    num_shared: int,
    donate: Sequence[int] = (),
    effort: int = 1,
    numerics: Numerics = EXACT,
) -> Loop:
    """Compile `one_fold` once and call it for one fold after the other; needs the memory of one fold.

    `effort` is that of `compiler_options`.
    """

    def of_one(*arguments: Any) -> Any:
        shared, per_fold = arguments[:num_shared], arguments[num_shared:]
        return jax.tree.map(lambda leaf: leaf[None], one_fold(*shared, *select_fold(per_fold, 0)))

    # The name that the compiler and profiles show.
    of_one.__name__ = getattr(getattr(one_fold, "func", one_fold), "__name__", of_one.__name__)
    program = compile_program(of_one, donate=donate, effort=effort, numerics=numerics)
    return Loop(program, num_shared)


def loop_in_threads(
    one_fold: Callable[..., Any],
    *,
    num_shared: int,
    donate: Sequence[int] = (),
    numerics: Numerics = EXACT,
) -> Lifted:
    """As `loop`, for as many folds at a time as the CPU has cores, which then wait less for one another; the same bits."""
    looped = loop(one_fold, num_shared=num_shared, donate=donate, numerics=numerics)
    looped.folds_at_once = count_cores()
    return looped


def map_folds(
    one_fold: Callable[..., Any],
    *,
    num_shared: int,
    donate: Sequence[int] = (),
    numerics: Numerics = EXACT,
) -> Lifted:
    """One program that loops over the folds: a single call for all of them."""

    def all_folds(*arguments: Any) -> Any:
        shared, per_fold = arguments[:num_shared], arguments[num_shared:]
        return lax.map(lambda slices: one_fold(*shared, *slices), per_fold)

    return compile_program(all_folds, donate=donate, numerics=numerics)


def vmap_folds(
    one_fold: Callable[..., Any],
    *,
    num_shared: int,
    donate: Sequence[int] = (),
    numerics: Numerics = EXACT,
) -> Lifted:
    """One program whose operations are batched over the folds; needs the memory of k folds."""

    def all_folds(*arguments: Any) -> Any:
        axes = [None] * num_shared + [0] * (len(arguments) - num_shared)
        return jax.vmap(one_fold, in_axes=axes)(*arguments)

    return compile_program(all_folds, donate=donate, numerics=numerics)


def lay_over_devices(
    one_fold: Callable[..., Any],
    *,
    num_shared: int,
    donate: Sequence[int] = (),
    numerics: Numerics = EXACT,
) -> Lifted:
    """One program over all devices: each device loops over its part of the folds.

    Where the number of folds is no multiple of the devices, the first folds are computed again and dropped. Arguments
    should be replicated over the devices (see `put_on_devices`), and results are: states are small beside the images.
    """
    mesh = _fold_mesh()

    def on_one_device(*arguments: Any) -> Any:
        shared, per_fold = arguments[:num_shared], arguments[num_shared:]
        return lax.map(lambda slices: one_fold(*shared, *slices), per_fold)

    def all_folds(*arguments: Any) -> Any:
        shared, per_fold = arguments[:num_shared], arguments[num_shared:]
        num_folds = _num_folds(per_fold)
        filled = np.resize(np.arange(num_folds), -(-num_folds // mesh.size) * mesh.size)
        specs = [PartitionSpec()] * num_shared + [PartitionSpec("fold")] * len(per_fold)
        spread = jax.shard_map(
            on_one_device,
            mesh=mesh,
            in_specs=tuple(specs),
            out_specs=PartitionSpec("fold"),
            # A scan's carry starts as a constant, equal on all devices, and differs later.
            check_vma=False,
        )
        results = spread(*shared, *jax.tree.map(lambda leaf: leaf[filled], per_fold))
        return jax.tree.map(lambda leaf: leaf[:num_folds], results)

    everywhere = NamedSharding(mesh, PartitionSpec())
    return compile_program(all_folds, donate=donate, out_shardings=everywhere, numerics=numerics)


STRATEGIES: dict[StrategyName, Strategy] = {
    "loop": loop,
    "threads": loop_in_threads,
    "map": map_folds,
    "vmap": vmap_folds,
    "devices": lay_over_devices,
}


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def put_on_devices(strategy: StrategyName, tree: PyTree) -> PyTree:
    """Arrays moved once to where the strategy works; per-fold ones too, so that no call has to move them."""
    return jax.device_put(tree, _sharding(strategy))


def abstract_arrays(strategy: StrategyName, tree: PyTree) -> PyTree:
    """ShapeDtypeStructs with the strategy's sharding, for ahead-of-time compilation."""
    sharding = _sharding(strategy)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _sharding(strategy: StrategyName) -> NamedSharding | None:
    return NamedSharding(_fold_mesh(), PartitionSpec()) if strategy == "devices" else None


@functools.cache
def _fold_mesh() -> Mesh:
    return jax.make_mesh((jax.device_count(),), ("fold",), axis_types=(AxisType.Auto,))


def _num_folds(per_fold: Any) -> int:
    return jax.tree.leaves(per_fold)[0].shape[0]
