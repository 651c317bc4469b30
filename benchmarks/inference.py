"""Images a second that a trained model answers, beside its peers and what the cores' matrix product allows.

    python -m benchmarks.inference [--data ZIP] [--turns 5] [--no-peers] [--json]

`predict` is every image's probabilities on the host, `evaluate` accuracy and loss of them all (medjax's `predict` gives
the losses along; with `score` its whole block of metrics is timed too). The images lie in memory. All three answer with
the same parameters, after one epoch of training; the largest difference between their probabilities is the check that
they do the same. PyTorch and Keras are asked in the ways their users know, and the fastest counts. The last line of
stdout is one JSON object.
"""

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.measuring import MATMUL_FLOP, Case, finish, make_matmul, medians, take_turns
from benchmarks.peers.client import Peer
from benchmarks.throughput import FORWARD_FLOP, start_peers, train_one_epoch
from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.evaluation.scores import score
from medjax.records import Predictions
from medjax.training.predict import predict

WAYS = {
    ("pytorch", "predict"): ("eager", "frozen", "compiled"),
    ("pytorch", "evaluate"): ("eager", "frozen", "compiled"),
    ("keras", "predict"): ("model", "function"),
    ("keras", "evaluate"): ("model", "arrays"),
}


def main(data: str = "phantom", turns: int = 5, peers: bool = True, json: bool = False) -> None:
    """Measure and print.

    Args:
        data: Folder or archive to ask about, or the word phantom.
        turns: Turns of each case; the median counts.
        peers: Measure PyTorch and Keras too.
        json: Print the JSON line alone.
    """
    figures = measure(data, turns, peers=peers)
    shares = figures["fraction_of_limit"]
    lines = [
        f"{task:8}  medjax {figures[task]:8,} images/s ({shares[task]:.0%} of the limit)" for task in shares
    ]
    for name in ("predict", "evaluate") if peers else ():
        pytorch, keras, ratio = (figures[f"{kind}_{name}"] for kind in ("pytorch", "keras", "ratio"))
        lines.append(
            f"{name:8}  PyTorch {pytorch:8,}   Keras {keras:8,}   medjax over the better {ratio:.2f}"
        )
    finish("inference", figures, lines, json=json)


def measure(data: str, turns: int, *, peers: bool) -> dict[str, Any]:
    """Images a second by task, the ratios, and the limit."""
    dataset = load(data)
    split = splits.split(dataset)
    learner, variables = train_one_epoch(dataset, split)
    arrays = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)
    ask = functools.partial(predict, learner, variables, arrays, np.arange(len(dataset.labels)))
    cases: dict[str, Case] = {
        "predict": ask,
        "evaluate": lambda: _summarize(ask()),
        "score": lambda: score(ask(), dataset.class_names),
        "matmul": make_matmul(),
    }
    if not peers:
        return _figures(medians(take_turns(cases, turns)), len(dataset.labels))
    with start_peers(dataset, split) as (pytorch, keras), tempfile.TemporaryDirectory() as folder:
        by_name = {"pytorch": pytorch, "keras": keras}
        difference = _check(by_name, variables.parameters, ask().probabilities, Path(folder))
        for (peer, task), ways in WAYS.items():
            for way in ways:
                cases[f"{peer}_{task} {way}"] = functools.partial(by_name[peer].call, task, way=way)
        seconds = medians(take_turns(cases, turns))
    return {**_figures(seconds, len(dataset.labels)), "largest_difference": difference, "turns": turns}


def _summarize(predictions: Predictions) -> tuple[float, float]:
    """Accuracy and mean loss."""
    is_right = predictions.probabilities.argmax(1) == predictions.labels
    return float(is_right.mean()), float(predictions.losses.mean())


def _check(
    peers: Mapping[str, Peer], parameters: Any, probabilities: np.ndarray, folder: Path
) -> dict[str, float]:
    """Hand the parameters to the peers; the largest difference of any way's probabilities from medjax's."""
    layers = (*parameters["features"].values(), parameters["head"]["hidden"], parameters["head"]["logits"])
    np.savez(folder / "parameters.npz", *(layer[name] for layer in layers for name in ("kernel", "bias")))
    differences = {}
    for name, peer in peers.items():
        peer.call("prepare", path=str(folder / "parameters.npz"))
        for way in WAYS[name, "predict"]:
            peer.call("predict", way=way, path=str(folder / "probabilities.npy"))
            other = np.load(folder / "probabilities.npy")
            differences[f"{name} {way}"] = float(np.abs(other - probabilities).max())
    return differences


def _figures(seconds: dict[str, float], num_images: int) -> dict[str, Any]:
    limit = MATMUL_FLOP / seconds.pop("matmul")
    rates = {name: num_images / each for name, each in seconds.items()}
    ours = {name: rate for name, rate in rates.items() if " " not in name}
    best: dict[str, float] = {}
    for name in rates.keys() - ours.keys():
        kind = name.split()[0]
        best[kind] = max(best.get(kind, 0), rates[name])
    ratios = {
        f"ratio_{task}": rates[task] / max(best[f"pytorch_{task}"], best[f"keras_{task}"])
        for task in ("predict", "evaluate")
        if best
    }
    return {
        **{name: round(rate) for name, rate in (ours | best).items()},
        **{name: round(ratio, 2) for name, ratio in ratios.items()},
        "ways": {name: round(rate) for name, rate in rates.items() if name not in ours},
        "matmul_gflops": round(limit / 1e9),
        "fraction_of_limit": {name: round(rate * FORWARD_FLOP / limit, 3) for name, rate in ours.items()},
    }


if __name__ == "__main__":
    tyro.cli(main)
