"""Seconds for the maps of 100 images, by each method, after compilation; and the seconds of the first call, which compiles.

    python -m benchmarks.explanations [--models cnn resnet18] [--side 28] [--images 100] [--turns 3] [--json]

Networks are medjax's, for six classes, with weights drawn at random, on which the time does not depend; images are gray
and random. Integrated gradients take their default of 32 steps. The last line of stdout is one JSON object.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.measuring import finish
from medjax.explain.programs import METHODS, make_explainer
from medjax.models.as_network import as_network
from medjax.models.registry import MODELS

NUM_CLASSES = 6


def main(
    models: tuple[str, ...] = ("cnn", "resnet18"),
    side: int = 28,
    images: int = 100,
    turns: int = 3,
    json: bool = False,
) -> None:
    """Measure and print.

    Args:
        models: Networks, by the names of `--model`.
        side: Height and width of the images in pixels.
        images: Number of images that are explained.
        turns: Calls of each method that count.
        json: Print only the JSON object.
    """
    rows = [row for model in models for row in measure(model, side, images, turns)]
    lines = [
        f"{row['model']:10} {row['method']:22} {images} images in {row['seconds']:.3f} s "
        f"({row['least']:.3f} to {row['most']:.3f}), first call {row['first_call']:.1f} s"
        for row in rows
    ]
    finish("explanations", {"side": side, "images": images, "turns": turns, "rows": rows}, lines, json=json)


def measure(model: str, side: int, num_images: int, turns: int) -> list[dict[str, Any]]:
    """A row for each method."""
    network, shape = as_network(MODELS[model](NUM_CLASSES)), (side, side, 1)
    variables = jax.jit(functools.partial(network.init, image_shape=shape))(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (num_images, *shape), dtype=np.uint8)
    classes = (np.arange(num_images) % NUM_CLASSES).astype(np.int32)
    rows = []
    for method in METHODS:
        call = functools.partial(make_explainer(network, shape, method), variables, images, classes)
        first, *seconds = (_seconds(call) for _ in range(turns + 1))
        found = {"seconds": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}
        rows.append({"model": model, "method": method, "first_call": first, **found})
    return rows


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    tyro.cli(main)
