"""The report's network in PyTorch, as a PyTorch user who knows the CPU guide would train and ask it.

Channels-last, images as one tensor in memory that batches are indexed from (a DataLoader costs more than this network),
Adam fused, gradients set to none. `compiled` hands loss and augmentation to torch.compile.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.nn import functional

from benchmarks.peers.server import serve

torch.set_num_threads(2)

LossFunction = Callable[[Tensor, Tensor], Tensor]


class Data:
    """The data set and which of its images are trained on; images are f32, 0 to 1."""

    images: Tensor
    labels: Tensor
    train: Tensor
    test: Tensor


class Training:
    """A network in training, kept between calls."""

    def __init__(self, *, augmented: bool, compiled: bool) -> None:
        self.network = make_network(int(Data.labels.max()) + 1)
        # Capturable state stays off: it is for CUDA graphs.
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True)
        self.loss: LossFunction = self._loss_augmented if augmented else self._loss
        if compiled:
            self.loss = torch.compile(self.loss, dynamic=False)

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.network(images), labels)

    def _loss_augmented(self, images: Tensor, labels: Tensor) -> Tensor:
        return self._loss(augment(images), labels)

    def run(self, batch_size: int, images: int) -> None:
        """Train on this many images of a newly shuffled epoch, or on all it has."""
        self.network.train()
        order = Data.train[torch.randperm(len(Data.train))[:images]]
        for indices in order.split(batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(Data.images[indices], Data.labels[indices]).backward()
            self.optimizer.step()


_trainings: dict[tuple[Any, ...], Training] = {}


def make_network(num_classes: int) -> nn.Sequential:
    """The report's network; ReLU after the pool is the same function, and up to 1.2 times as fast."""
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1600, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, num_classes),
    )
    return network.to(memory_format=torch.channels_last)


def augment(images: Tensor) -> Tensor:
    """Rotation by 10 degrees, shift by 0.1 of a side and zoom of each axis by 0.1 at most, in one resampling."""
    count, device = len(images), images.device
    angle = torch.empty(count, device=device).uniform_(-math.radians(10), math.radians(10))
    shift = torch.empty(count, 2, device=device).uniform_(-0.2, 0.2)  # the side is 2 long in the grid's units
    zoom = torch.empty(count, 2, device=device).uniform_(0.9, 1.1)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    theta = torch.cat([turn * zoom[:, None], turn @ shift[:, :, None]], 2)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def load(path: str) -> None:
    """Take images, labels and parts from an .npz."""
    with np.load(path) as file:
        images = torch.from_numpy(file["images"]).permute(0, 3, 1, 2).float().div_(255)
        Data.images = images.contiguous(memory_format=torch.channels_last)
        Data.labels = torch.from_numpy(file["labels"].astype(np.int64))
        Data.train, Data.test = (torch.from_numpy(file[part].astype(np.int64)) for part in ("train", "test"))


def train(batch_size: int, augmented: bool, compiled: bool, images: int) -> float:
    """Seconds for training on this many images; the network is kept for the next call of the same kind."""
    case = (batch_size, augmented, compiled)
    if case not in _trainings:
        _trainings[case] = Training(augmented=augmented, compiled=compiled)
    started = time.perf_counter()
    _trainings[case].run(batch_size, images)
    return time.perf_counter() - started


def train_afresh(batch_size: int, epochs: int) -> int:
    """Errors on the test part of a new network after these epochs without augmentation."""
    training = Training(augmented=False, compiled=False)
    for _ in range(epochs):
        training.run(batch_size, len(Data.train))
    logits = _logits(training.network, Data.images[Data.test], 1024)
    return int((logits.argmax(1) != Data.labels[Data.test]).sum())


def _logits(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(batch_size)])


BATCH = 256  # of 64, 256 and 1,024 the fastest or level with it, in every way


def prepare(path: str) -> None:
    """Take the parameters of the network that is asked from an .npz of arrays, channels last, in its layers' order."""
    network = make_network(int(Data.labels.max()) + 1)
    with np.load(path) as file:
        arrays = [torch.from_numpy(file[name]) for name in file.files]
    rows = arrays[4].reshape(5, 5, 64, 128).permute(2, 0, 1, 3).reshape(1600, 128)
    first, second = (arrays[index].permute(3, 2, 0, 1) for index in (0, 2))
    new = [first, arrays[1], second, arrays[3], rows.T, arrays[5], arrays[6].T, arrays[7]]
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), new, strict=True):
            parameter.copy_(value)
    network.eval()
    traced = torch.jit.trace(network, Data.images[:BATCH])
    _networks["eager"] = network
    _networks["frozen"] = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    inductor.freezing = True
    _networks["compiled"] = torch.compile(network, dynamic=False)


def predict(way: str, path: str | None = None) -> float:
    """Seconds for the probabilities of all images; they are saved to `path` where one is given."""
    started = time.perf_counter()
    probabilities = functional.softmax(_logits(_networks[way], Data.images, BATCH), 1).numpy()
    seconds = time.perf_counter() - started
    if path is not None:
        np.save(path, probabilities)
    return seconds


def evaluate(way: str) -> float:
    """Seconds for accuracy and loss of all images."""
    started = time.perf_counter()
    logits = _logits(_networks[way], Data.images, BATCH)
    (logits.argmax(1) == Data.labels).float().mean().item()
    functional.cross_entropy(logits, Data.labels).item()
    return time.perf_counter() - started


_networks: dict[str, Any] = {}

if __name__ == "__main__":
    answers = (load, train, train_afresh, prepare, predict, evaluate)
    serve({function.__name__: function for function in answers})
