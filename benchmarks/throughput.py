"""Training images a second of the report's system, beside what the cores' matrix product allows.

    python -m benchmarks.throughput [--data ZIP] [--turns 7] [--block-sizes 8 16 32 0] [--json]

Each case trains the report's network on the same images; the cases take turns in one process and the median turn
counts. The last line of stdout is one JSON object. The limit is f32 matrix products of 2048 by 2048 in the same run,
against the nominal 16 MFLOP that the network as written costs an image and step.
"""

import functools
import statistics
import time
from collections.abc import Callable
from json import dumps
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from medjax.data import load, split_dataset
from medjax.metrics import zero_sums
from medjax.models import CNN
from medjax.run import describe_environment
from medjax.training import learner as learner_module
from medjax.training.augment import random_affine
from medjax.training.fit import init_state
from medjax.training.folds import make_plan, run_steps
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam

IMAGES_A_TURN = 4096
# Forward: 2 · 26² · 9 · 32 + 2 · 11² · 288 · 64 + 2 · 1600 · 128 + 2 · 128 · 6. Backward: twice that, less the
# gradient of the first layer's input, which nobody needs.
FORWARD_FLOP = 2 * 26**2 * 9 * 32 + 2 * 11**2 * 288 * 64 + 2 * 1600 * 128 + 2 * 128 * 6
STEP_FLOP = 3 * FORWARD_FLOP - 2 * 26**2 * 9 * 32


def main(
    data: str = "phantom", turns: int = 7, block_sizes: tuple[int, ...] = (), json: bool = False
) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        turns: Turns of each case; the median counts.
        block_sizes: Also measure these sizes of the blocks that a CPU works in (0 is the whole batch).
        json: Print the JSON line alone.
    """
    dataset = load(data)
    cases = {
        f"b{batch_size}{'_aug' if augmented else ''}": make_case(dataset, batch_size, augmented)
        for batch_size in (32, 128)
        for augmented in (False, True)
    }
    for block_size in block_sizes:
        for batch_size in (32, 128):
            name = f"b{batch_size}_aug_block{block_size or batch_size}"
            cases[name] = make_case(dataset, batch_size, True, block_size or batch_size)
    seconds = take_turns({**cases, "matmul": make_matmul()}, turns)
    rates = {name: IMAGES_A_TURN / seconds[name] for name in cases}
    limit = 2 * 2048**3 / seconds["matmul"]
    result = {
        **{name: round(rate) for name, rate in rates.items()},
        "matmul_gflops": round(limit / 1e9),
        "fraction_of_limit": {name: round(rate * STEP_FLOP / limit, 3) for name, rate in rates.items()},
        **describe_environment(jax.devices()[0].device_kind),
    }
    if not json:
        for name, rate in rates.items():
            print(f"{name:20} {rate:8,.0f} images/s  {rate * STEP_FLOP / limit:6.1%} of the limit")
    print(dumps(result))


def make_case(
    dataset: Any, batch_size: int, augmented: bool, block_size: int | None = None
) -> Callable[[], Any]:
    """A function that trains on `IMAGES_A_TURN` images; its program is compiled already."""
    augment = functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1) if augmented else None
    learner = make_learner(CNN(len(dataset.class_names)), make_adam(1e-3), augment)
    plan = make_plan([split_dataset(dataset)], seed=0, batch_size=batch_size)
    state = init_state(learner, plan, dataset.images.shape[1:])
    plan, state = jax.tree.map(lambda leaf: leaf[0], (plan, state))
    images, labels = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)
    num_steps = min(IMAGES_A_TURN, plan.train.shape[0]) // batch_size
    program = jax.jit(functools.partial(run_steps, learner, batch_size))
    repeats = -(-IMAGES_A_TURN // (num_steps * batch_size))
    step_counts = [num_steps] * (repeats - 1) + [IMAGES_A_TURN // batch_size - num_steps * (repeats - 1)]

    def turn(step_counts: list[int] = step_counts) -> None:
        sums = zero_sums(learner.num_classes)
        for count in step_counts:
            jax.block_until_ready(program(images, labels, 0, count, plan, state, sums))

    with_default = learner_module._BLOCK_SIZE
    learner_module._BLOCK_SIZE = block_size or with_default
    turn([0])
    learner_module._BLOCK_SIZE = with_default
    return turn


def make_matmul() -> Callable[[], Any]:
    """A function that multiplies two matrices of 2048 by 2048."""
    matrix = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(matrix, matrix))


def take_turns(cases: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Median seconds of each case over turns taken one after the other, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(turns + 1):
        for name, case in cases.items():
            started = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}


if __name__ == "__main__":
    tyro.cli(main)
