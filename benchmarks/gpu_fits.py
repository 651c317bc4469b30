"""Whole fits: seconds to accuracy from decoded arrays, and what an epoch of `fit` asks of the device."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.architectures import NUM_CLASSES
from benchmarks.gpu_network import Case
from benchmarks.gpu_profile import profile
from benchmarks.gpu_tools import Row, Tools
from medjax.config import PRESETS, DataConfig
from medjax.data.load import load
from medjax.jobs.from_config import make_controls, make_fold_learner, make_network, make_splits
from medjax.models.cnn import CNN
from medjax.records import Split
from medjax.training.augment import random_affine
from medjax.training.fit import fit
from medjax.training.learner import make_learner
from medjax.training.optimizers import make_adam
from medjax.training.predict import predict

# That of `fast` in batches four times as large, as a GPU takes about as long for a step of either. On a CPU, seeds 0 to 4 of
# Medical MNIST at 28 by 28: a mean of 2.4 errors of 8,844 on the val part, by which it was chosen, and of 2.8 on the test
# part, in 2,592 steps; `fast` itself has 5,805.
RECIPE = dataclasses.replace(
    PRESETS["fast"],
    batch_size=256,
    epochs=16,
    learning_rate=6e-3,
    data=DataConfig(image_size=28, cache=False),
)


def measure_accuracy(tools: Tools) -> Iterator[tuple[str, Row]]:
    """Seconds of training from arrays on the host, without compilation, and errors of the test part, by seed."""
    sizes = tools.sizes
    config = dataclasses.replace(RECIPE, epochs=sizes.epochs or RECIPE.epochs)
    dataset = load(tools.data, config.data)
    rows = []
    splits = {
        seed: make_splits(dataclasses.replace(config, seed=seed), dataset)[0] for seed in range(sizes.seeds)
    }
    network = make_network(config, None, dataset.class_names, dataset.images.shape[1:])
    learner = make_fold_learner(config, network, [splits[0]])
    options: dict[str, Any] = {
        "batch_size": config.batch_size,
        "loss_proportional_sampling": config.loss_proportional_sampling,
        "class_balance": config.class_balance,
        "controls": make_controls(config),
    }
    started = time.perf_counter()
    for state, _ in fit(learner, dataset, splits[0], num_epochs=1, **options):
        predict(learner, state, dataset, splits[0].test)
    compiling = time.perf_counter() - started
    for seed, split in splits.items():
        started = time.perf_counter()
        *_, (state, _) = fit(learner, dataset, split, seed=seed, num_epochs=config.epochs, **options)
        jax.block_until_ready(state)
        trained = time.perf_counter()
        predictions = predict(learner, state, dataset, split.test)
        row = {
            "seed": seed,
            "seconds": round(trained - started, 3),
            "scoring_seconds": round(time.perf_counter() - trained, 3),
            "errors": int((predictions.probabilities.argmax(1) != predictions.labels).sum()),
        }
        rows.append(row)
        yield "accuracy_seeds", row
    yield (
        "accuracy",
        {
            "data": dataset.name,
            "train_images": len(splits[0].train),
            "of": len(splits[0].test),
            "epochs": config.epochs,
            "steps": config.epochs * -(-len(splits[0].train) // config.batch_size),
            "batch": config.batch_size,
            "first_epoch_with_compilation": round(compiling, 1),
            "seconds": statistics.median(row["seconds"] for row in rows),
            "mean_errors": statistics.fmean(row["errors"] for row in rows),
        },
    )


def measure_epoch(case: Case, tools: Tools) -> Iterator[tuple[str, Row]]:
    """Kernels and copies of an epoch of `fit`, its scoring included, after two that warm it."""
    count, batch_size = tools.sizes.num_images, case.batch_size
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *case.shape), np.uint8)
    labels = generator.integers(0, NUM_CLASSES, count, np.int32)
    train, val = np.split(np.arange(count), [count * 7 // 8])
    augment = functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1)
    learner = make_learner(CNN(NUM_CLASSES), make_adam(1e-3), augment=augment)
    split = Split(train, val, val[:0])
    epochs = fit(learner, (images, labels), split, num_epochs=3, batch_size=batch_size)
    for _ in range(2):
        next(epochs)
    steps = -(-len(train) // batch_size)
    yield "epoch", {"steps": steps, **profile(lambda: jax.block_until_ready(next(epochs)), steps)}
