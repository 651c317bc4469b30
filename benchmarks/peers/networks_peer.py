"""Any tree of layers in PyTorch, trained and asked as a PyTorch user who knows the CPU guide would do it.

Channels-last, images as float32 in memory from which batches are taken by index, Adam fused, gradients set to none,
ReLU in place where that is allowed. `compiled` hands the loss, or the network in evaluation, to torch.compile.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._inductor import config as inductor
from torch.nn import functional

from benchmarks.layers import from_json
from benchmarks.peers.server import serve
from benchmarks.peers.torch_network import TorchNetwork

torch.set_num_threads(len(os.sched_getaffinity(0)))  # all cores there are, as medjax does


class Task:
    """The network that is measured, and its data."""

    network: TorchNetwork
    optimizer: torch.optim.Optimizer
    images: Tensor  # [n, height, width, channel], 0 to 1: as NHWC, so that batches are channels-last
    labels: Tensor
    batch_size: int
    losses: dict[bool, Callable[[Tensor, Tensor], Tensor]]  # by whether they are compiled
    networks: dict[bool, Callable[[Tensor], Tensor]]


def build(tree: dict[str, Any], path: str, batch_size: int) -> int:
    """Make the network for the images and labels of an .npz; its number of parameters."""
    with np.load(path) as file:
        Task.images = torch.from_numpy(file["images"]).float().div_(255)
        Task.labels = torch.from_numpy(file["labels"].astype(np.int64))
    _, side, _, channels = Task.images.shape
    Task.network = TorchNetwork(from_json(tree), (channels, side, side))
    Task.network.to(memory_format=torch.channels_last)
    Task.optimizer = torch.optim.Adam(Task.network.parameters(), 1e-3, fused=True)
    Task.batch_size = batch_size
    Task.losses, Task.networks = {False: _loss}, {False: Task.network}
    return sum(parameter.numel() for parameter in Task.network.parameters())


def answer(parameters: str, path: str) -> None:
    """Save the logits of all images to `path`, with the arrays of an .npz, named by Linen, as parameters and statistics."""
    with np.load(parameters) as file, torch.no_grad():
        Task.network.load({name: torch.from_numpy(file[name]) for name in file.files})
        np.save(path, Task.network.eval()(Task.images.permute(0, 3, 1, 2)).numpy())


def _loss(images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(Task.network(images), labels)


def _batches(steps: int) -> list[Tensor]:
    order = torch.arange(steps * Task.batch_size) % len(Task.labels)
    return list(order.split(Task.batch_size))


def training(compiled: bool, steps: int) -> float:
    """Seconds for that many steps; the network is kept for the next call."""
    if compiled not in Task.losses:
        Task.losses[True] = torch.compile(_loss, dynamic=False)
    loss = Task.losses[compiled]
    Task.network.train()
    started = time.perf_counter()
    for indices in _batches(steps):
        Task.optimizer.zero_grad(set_to_none=True)
        loss(Task.images[indices].permute(0, 3, 1, 2), Task.labels[indices]).backward()
        Task.optimizer.step()
    return time.perf_counter() - started


def inference(compiled: bool, steps: int) -> float:
    """Seconds for the probabilities of that many batches."""
    Task.network.eval()
    if compiled not in Task.networks:
        inductor.freezing = True  # folds batch norms into convolutions
        Task.networks[True] = torch.compile(Task.network, dynamic=False)
    network = Task.networks[compiled]
    started = time.perf_counter()
    with torch.inference_mode():
        batches = (Task.images[indices].permute(0, 3, 1, 2) for indices in _batches(steps))
        torch.cat([functional.softmax(network(batch), 1) for batch in batches]).numpy()
    return time.perf_counter() - started


def describe() -> dict[str, Any]:
    """What the figures depend on."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}


def try_compiled(task: str) -> str | None:
    """Compile and run one step; why that failed, or None."""
    try:
        {"training": training, "inference": inference}[task](compiled=True, steps=1)
    except Exception as error:  # of many kinds: no compiler, no header, an operation that is not supported
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return None


if __name__ == "__main__":
    serve(
        {
            function.__name__: function
            for function in (build, answer, training, inference, try_compiled, describe)
        }
    )
