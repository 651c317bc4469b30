"""Training images a second of the report's system, beside its peers and what the cores' matrix product allows.

    python -m benchmarks.throughput [--data ZIP] [--turns 5] [--no-peers] [--json]

Every case trains the report's network on the same images, PyTorch and Keras each in the ways its users know and in a
process of its own; the cases take turns, the median turn counts, and of a peer's ways the fastest. The limit is f32
matrix products of 2048 by 2048 in the same run, against the nominal 16 MFLOP that the network as written costs an
image and step: who multiplies less than that, as by Winograd's way or by leaving out the zeros of a pooled gradient,
can pass it. The last line of stdout is one JSON object.
"""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.measuring import MATMUL_FLOP, Case, finish, make_matmul, medians, take_turns
from benchmarks.peers.client import Peer
from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.metrics import zero_sums
from medjax.models.cnn import CNN
from medjax.records import Dataset, Split
from medjax.training.augment import random_affine
from medjax.training.compilation import compile_program
from medjax.training.fit import fit
from medjax.training.fold_plan import make_plan
from medjax.training.folds import Controls, run_steps, shuffle_epoch
from medjax.training.learner import Learner, make_learner
from medjax.training.optimizers import make_adam
from medjax.training.predict import predict
from medjax.training.programs import compile_init

IMAGES_A_TURN = 4096
# Forward: 2 · 26² · 9 · 32 + 2 · 11² · 288 · 64 + 2 · 1600 · 128 + 2 · 128 · 6. Backward: twice that, less the
# gradient of the first layer's input, which nobody needs.
FORWARD_FLOP = 2 * 26**2 * 9 * 32 + 2 * 11**2 * 288 * 64 + 2 * 1600 * 128 + 2 * 128 * 6
STEP_FLOP = 3 * FORWARD_FLOP - 2 * 26**2 * 9 * 32
KINDS = {
    f"b{batch_size}{'_aug' if augmented else ''}": (batch_size, augmented)
    for augmented in (False, True)
    for batch_size in (32, 128)
}


def main(data: str = "phantom", turns: int = 5, peers: bool = True, json: bool = False) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to train on, or the word phantom.
        turns: Turns of each case; the median counts.
        peers: Measure PyTorch and Keras too.
        json: Print the JSON line alone.
    """
    figures = measure(data, turns, peers=peers)
    lines = [f"{'':8}  medjax, images/s (share of the limit)   PyTorch    Keras   medjax over the better"]
    for kind in KINDS:
        line = f"{kind:8}  {figures[kind]:8,} ({figures['fraction_of_limit'][kind]:.0%})"
        if peers:
            line += f"  {figures['pytorch_' + kind]:8,} {figures['keras_' + kind]:8,}  {figures['ratio_' + kind]:.2f}"
        lines.append(line)
    finish("throughput", figures, lines, json=json)


def measure(data: str, turns: int, *, peers: bool) -> dict[str, Any]:
    """Images a second by case, the ratios, the limit, and the errors after an epoch."""
    dataset = load(data)
    split = splits.split(dataset)
    cases = {kind: make_case(dataset, split, *KINDS[kind]) for kind in KINDS}
    errors = {"medjax": functools.partial(count_errors, dataset, split)}
    with contextlib.ExitStack() as stack:
        if peers:
            pytorch, keras = stack.enter_context(start_peers(dataset, split))
            cases |= make_peer_cases(pytorch, keras)
            for name, peer in (("pytorch", pytorch), ("keras", keras)):
                errors[name] = functools.partial(peer.call, "train_afresh", batch_size=32, epochs=1)
        seconds = medians(take_turns({**cases, "matmul": make_matmul()}, turns))
        quality = {name: count() for name, count in errors.items()}
    limit = MATMUL_FLOP / seconds.pop("matmul")
    rates = {name: IMAGES_A_TURN / each for name, each in seconds.items()}
    return {
        **{kind: round(rates[kind]) for kind in KINDS},
        **(compare(rates) if peers else {}),
        "matmul_gflops": round(limit / 1e9),
        "fraction_of_limit": {kind: round(rates[kind] * STEP_FLOP / limit, 3) for kind in KINDS},
        "quality": {"errors_after_one_epoch": quality, "of": len(split.test)},
        "turns": turns,
    }


def compare(rates: dict[str, float]) -> dict[str, Any]:
    """The best way of each peer, medjax over the better peer, and all ways."""
    ways = {name: rate for name, rate in rates.items() if name not in KINDS}
    best = {
        f"{peer}_{kind}": max(rate for name, rate in ways.items() if name.split()[0] == f"{peer}_{kind}")
        for peer in ("pytorch", "keras")
        for kind in KINDS
    }
    ratios = {
        f"ratio_{kind}": rates[kind] / max(best[f"pytorch_{kind}"], best[f"keras_{kind}"]) for kind in KINDS
    }
    return {
        **{name: round(rate) for name, rate in best.items()},
        **{name: round(ratio, 2) for name, ratio in ratios.items()},
        "ways": {name: round(rate) for name, rate in ways.items()},
    }


def make_case(dataset: Dataset, split: Split, batch_size: int, augmented: bool) -> Case:
    """A turn of training on `IMAGES_A_TURN` images of a newly shuffled epoch."""
    learner = _make_learner(dataset, augmented)
    plan = make_plan([split], seed=0, batch_size=batch_size)
    state = compile_init(learner, dataset.images.shape, Controls(), False)(plan.key)
    plan, state = jax.tree.map(lambda leaf: leaf[0], (plan, state))
    images, labels = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)
    num_steps = min(IMAGES_A_TURN, plan.train.shape[0]) // batch_size
    shuffle = jax.jit(
        functools.partial(shuffle_epoch, len(dataset.class_names), batch_size, num_steps, labels, 0)
    )
    steps = compile_program(functools.partial(run_steps, learner, batch_size))

    def turn() -> None:
        left = IMAGES_A_TURN // batch_size
        while left:  # a small data set is gone through several times
            count = min(left, num_steps)
            sums = zero_sums(len(dataset.class_names))
            jax.block_until_ready(steps(images, labels, 0, count, shuffle(plan, state), state, sums))
            left -= count

    return turn


def train_one_epoch(dataset: Dataset, split: Split) -> tuple[Learner, Any]:
    """A learner and its variables after one epoch at batch 32 without augmentation."""
    learner = _make_learner(dataset, augmented=False)
    [(state, _)] = fit(learner, dataset, split, num_epochs=1)
    return learner, state.learner.variables


def count_errors(dataset: Dataset, split: Split) -> int:
    """Errors on the test part after that epoch."""
    learner, variables = train_one_epoch(dataset, split)
    predictions = predict(learner, variables, dataset, split.test)
    return int((predictions.probabilities.argmax(1) != predictions.labels).sum())


def _make_learner(dataset: Dataset, augmented: bool) -> Learner:
    augment = functools.partial(random_affine, rotation=10.0, shift=0.1, zoom=0.1) if augmented else None
    return make_learner(CNN(len(dataset.class_names)), make_adam(1e-3), augment=augment)


@contextlib.contextmanager
def start_peers(dataset: Dataset, split: Split) -> Iterator[tuple[Peer, Peer]]:
    """PyTorch and Keras, the data loaded."""
    with tempfile.TemporaryDirectory() as folder, Peer("pytorch") as pytorch, Peer("keras") as keras:
        path = Path(folder) / "data.npz"
        np.savez(path, images=dataset.images, labels=dataset.labels, train=split.train, test=split.test)
        for peer in (pytorch, keras):
            peer.call("load", path=str(path))
        yield pytorch, keras


def make_peer_cases(pytorch: Peer, keras: Peer) -> dict[str, Case]:
    """A turn of each peer in each of its ways; the name is `peer_kind way`."""
    cases: dict[str, Case] = {}
    for kind, (batch_size, augmented) in KINDS.items():
        options = {"batch_size": batch_size, "augmented": augmented, "images": IMAGES_A_TURN}
        for way in ("eager", "compiled"):
            cases[f"pytorch_{kind} {way}"] = functools.partial(
                pytorch.call, "train", compiled=way == "compiled", **options
            )
        for way in ("pipeline", "generator" if augmented else "arrays"):
            cases[f"keras_{kind} {way}"] = functools.partial(keras.call, "train", way=way, **options)
    return cases


if __name__ == "__main__":
    tyro.cli(main)
