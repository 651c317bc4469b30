"""The compiled programs of training and prediction, each made once for a learner and compiled ahead of its first call."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

from medjax.memory import available_memory, in_words
from medjax.training.compilation import Lifted, compile_program
from medjax.training.folds import (
    Controls,
    FoldState,
    evaluate_batches,
    finish_epoch,
    init_fold,
    run_steps,
    shuffle_epoch,
)
from medjax.training.learner import Learner
from medjax.training.strategies import STRATEGIES, Loop, StrategyName, loop


class EpochPrograms(NamedTuple):
    """What an epoch calls, in this order, lifted to all folds."""

    shuffle: Lifted
    run_chunk: Lifted
    end_epoch: Lifted


class Compiling(NamedTuple):
    """Programs while they are compiled; `result()` waits, and raises what went wrong."""

    run_chunk: Future
    end_epoch: Future


@functools.lru_cache(maxsize=8)
def compile_epoch(
    learner: Learner,
    num_classes: int,
    batch_size: int,
    steps_per_shuffle: int,
    controls: Controls,
    strategy: StrategyName,
) -> EpochPrograms:
    """The programs of an epoch; the images of `steps_per_shuffle` steps are chosen together."""
    lift = functools.partial(STRATEGIES[strategy], numerics=learner.numerics)
    return EpochPrograms(
        lift(functools.partial(shuffle_epoch, num_classes, batch_size, steps_per_shuffle), num_shared=2),
        lift(functools.partial(run_steps, learner, batch_size), num_shared=4, donate=(5, 6)),
        lift(functools.partial(finish_epoch, learner, controls, num_classes), num_shared=2, donate=(3,)),
    )


def make_init(
    learner: Learner, image_shape: tuple[int, ...], controls: Controls, keeps_losses: bool
) -> Callable[[Any], FoldState]:
    """The function from a fold's key to its state; `image_shape` is (n, height, width, channel)."""
    return functools.partial(
        init_fold,
        learner=learner,
        controls=controls,
        image_shape=image_shape,
        keeps_losses=keeps_losses,
    )


@functools.lru_cache(maxsize=8)
def compile_init(
    learner: Learner, image_shape: tuple[int, ...], controls: Controls, keeps_losses: bool
) -> Lifted:
    """`make_init` for all folds."""
    one_fold = make_init(learner, image_shape, controls, keeps_losses)
    # Always by `loop`: fresh parameters are the same bits under every strategy. It runs once, so it need not be
    # optimised: a quarter of the time to compile, for the same bits.
    return loop(one_fold, num_shared=0, effort=0, numerics=learner.numerics)


@functools.lru_cache(maxsize=8)
def compile_evaluation(learner: Learner) -> Callable[..., Any]:
    """`evaluate_batches` of a learner."""
    return compile_program(functools.partial(evaluate_batches, learner), numerics=learner.numerics)


@contextlib.contextmanager
def compile_ahead(
    programs: EpochPrograms, images: Any, labels: Any, plan: Any, state: Any, sums: Any
) -> Iterator[Compiling]:
    """Compile what trains, then what ends an epoch, in a thread of its own.

    The arguments may be ShapeDtypeStructs. A program that is still being compiled when the context ends is not waited for.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="compiling")
    bounds = jax.device_put((0, 0))
    try:
        yield Compiling(
            thread.submit(_compile, programs.run_chunk, images, labels, *bounds, plan, state, sums),
            thread.submit(_compile, programs.end_epoch, images, labels, plan, state),
        )
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _compile(program: Lifted, *arguments: Any) -> None:
    """Compile, and raise MemoryError where this machine's memory is too small for the program; as many folds at once as fit.

    Linux would promise the memory, and end the process that takes it. Other devices refuse by themselves.
    """
    usage = program.lower(*arguments).compile().memory_analysis()
    free = available_memory()
    if jax.default_backend() != "cpu" or usage is None or free is None:
        return
    if (needed := usage.temp_size_in_bytes) > free:
        raise MemoryError(f"Unable to allocate {in_words(needed)}: {in_words(free)} are available")
    if isinstance(program, Loop) and needed:
        program.folds_at_once = min(program.folds_at_once, free // needed)
