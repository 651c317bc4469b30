"""Hands a network and its images to PyTorch's process."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.architectures import NUM_CLASSES, Architecture
from benchmarks.layers import as_json
from benchmarks.peers.client import Peer

BATCHES = 4  # of different images


def make_data(architecture: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels, a few batches of them."""
    generator = np.random.default_rng(0)
    count, side = BATCHES * architecture.batch_size, architecture.side
    images = generator.integers(0, 256, (count, side, side, architecture.channels), np.uint8)
    return images, generator.integers(0, NUM_CLASSES, count, np.int32)


def load_network(peer: Peer, architecture: Architecture, images: np.ndarray, labels: np.ndarray) -> int:
    """Build it there; its number of parameters."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, images=images, labels=labels)
        tree = as_json(architecture.tree)
        return peer.call("build", tree=tree, path=str(path), batch_size=architecture.batch_size)
