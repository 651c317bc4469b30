"""PyTorch on a GPU as those write it who know it well: a case at a time, trained and asked in several ways.

Images lie on the device as uint8, batches are gathered and augmented there, weights and activations are channels-last,
Adam is fused, cuDNN times its algorithms, bf16 is autocast. "eager", "compiled" and "max-autotune" say how the loss is
compiled; on a GPU several whole steps, optimizer included, are then recorded as one CUDA graph and replayed. Without a GPU
there is no graph.

An answer is {"value": ...} or {"error": ...}: a way that fails ends no process.
"""

import contextlib
import functools
import gc
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.nn import functional

from benchmarks.layers import from_json
from benchmarks.peers.pytorch_peer import augment
from benchmarks.peers.server import serve
from benchmarks.peers.torch_network import TorchNetwork

IS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if IS_GPU else "cpu"
STEPS_A_GRAPH = 8
WARM_UP = 3  # steps before a graph is recorded
MODES = {"eager": None, "compiled": "default", "max-autotune": "max-autotune-no-cudagraphs"}


class Case:
    """A network, its data and its optimizer."""

    def __init__(
        self,
        tree: dict[str, Any],
        side: int,
        channels: int,
        batch_size: int,
        mode: str,
        dropout: float,
        num_images: int,
    ) -> None:
        """`mode` is f32, tf32 or bf16."""
        torch.set_float32_matmul_precision("highest" if mode == "f32" else "high")
        torch.backends.cudnn.allow_tf32 = mode != "f32"
        shape = (num_images, side, side, channels)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE)
        self.labels = torch.randint(0, 6, (num_images,), device=DEVICE)
        repeats = -(-STEPS_A_GRAPH * batch_size // num_images)
        order = torch.cat([torch.randperm(num_images, device=DEVICE) for _ in range(repeats)])
        self.order = order[: len(order) // batch_size * batch_size].view(-1, batch_size)
        self.batch_size, self.mode = batch_size, mode
        self.next = torch.zeros(
            1, dtype=torch.int64, device=DEVICE
        )  # batch; on the device, as a graph moves it on
        self.network = TorchNetwork(from_json(tree), (channels, side, side))
        if dropout:
            self.network.root.insert(len(self.network.root) - 1, nn.Dropout(dropout))
        self.network.to(DEVICE, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True, capturable=IS_GPU)
        self.functions: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {}  # compiled, by task and way
        self.runs: dict[tuple[str, str], Callable[[int], None]] = {}  # so many steps, by task and way

    def _batch(self, indices: Tensor) -> Tensor:
        return self.images[indices].permute(0, 3, 1, 2).float() / 255

    def _autocast(self) -> contextlib.AbstractContextManager:
        is_bfloat16 = self.mode == "bf16"
        return torch.autocast(DEVICE, torch.bfloat16, enabled=is_bfloat16, cache_enabled=False)

    def _loss(self, indices: Tensor) -> Tensor:
        images = augment(self._batch(indices))
        with self._autocast():
            return functional.cross_entropy(self.network(images), self.labels[indices])

    def _probabilities(self, indices: Tensor) -> Tensor:
        with self._autocast():
            logits = self.network(self._batch(indices))
        return functional.softmax(logits.float(), 1)

    def compile(self, task: str, way: str) -> float:
        """Seconds until the first step has run; cuDNN takes its first guess of algorithms, so little runs on the GPU."""
        torch.backends.cudnn.benchmark = False
        function = self._loss if task == "training" else self._probabilities
        started = time.perf_counter()
        if way != "eager":
            # Constants of the network may be folded where it is not trained: batch norms into convolutions.
            with inductor.patch(freezing=task == "inference"):
                function = torch.compile(function, mode=MODES[way], dynamic=False)
                self._run_once(task, function)
        else:
            self._run_once(task, function)
        _synchronize()
        self.functions[task, way] = function
        return time.perf_counter() - started

    def _run_once(self, task: str, function: Callable[[Tensor], Tensor]) -> None:
        self.network.train(task == "training")
        if task == "training":
            self.optimizer.zero_grad(set_to_none=True)
            function(self.order[0]).backward()
        else:
            with torch.inference_mode():
                function(self.order[0])

    def prepare(self, task: str, way: str) -> None:
        """Have cuDNN choose its algorithms, and record the graph."""
        torch.backends.cudnn.benchmark = True
        self.network.train(task == "training")
        function = self.functions[task, way]
        if task == "training":
            self.runs[task, way] = self._prepare_training(function)
        else:
            self.runs[task, way] = self._prepare_inference(function)
        before = self._parameters()
        self.runs[task, way](STEPS_A_GRAPH if IS_GPU else 1)
        changed = self._parameters() - before
        if not changed.isfinite().all() or bool(changed.any()) != (task == "training"):
            raise RuntimeError(f"{task} changed the parameters by {changed.abs().max().item()} at most")

    def _parameters(self) -> Tensor:
        with torch.no_grad():
            return torch.cat([parameter.flatten() for parameter in self.network.parameters()])

    def _take_batch(self) -> Tensor:
        indices = self.order.index_select(0, self.next)[0]
        self.next.add_(1).remainder_(len(self.order))
        return indices

    def _prepare_training(self, loss: Callable[[Tensor], Tensor]) -> Callable[[int], None]:
        def step() -> None:
            self.optimizer.zero_grad(set_to_none=True)
            loss(self._take_batch()).backward()
            self.optimizer.step()

        return _record(step, before=self.optimizer.zero_grad)

    def _prepare_inference(self, answer: Callable[[Tensor], Tensor]) -> Callable[[int], None]:
        found = torch.zeros(STEPS_A_GRAPH if IS_GPU else 1, self.batch_size, 6, device=DEVICE)
        position = torch.zeros(1, dtype=torch.int64, device=DEVICE)

        def step() -> None:
            with torch.inference_mode():
                found.index_copy_(0, position, answer(self._take_batch())[None])
                position.add_(1).remainder_(len(found))

        run = _record(step)

        def run_and_fetch(steps: int) -> None:
            kept = []
            for _ in range(-(-steps // len(found))):
                run(len(found))
                kept.append(found.clone())
            torch.cat(kept).cpu()

        return run_and_fetch


def _record(step: Callable[[], None], before: Callable[[], None] = lambda: None) -> Callable[[int], None]:
    """So many steps, by replays of a graph of several where there is a GPU; `before` is called before it is recorded."""

    def run_eagerly(steps: int) -> None:
        for _ in range(steps):
            step()

    if not IS_GPU:
        return run_eagerly
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run_eagerly(WARM_UP)
    torch.cuda.current_stream().wait_stream(stream)
    _synchronize()
    before()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run_eagerly(STEPS_A_GRAPH)

    def replay(steps: int) -> None:
        for _ in range(-(-steps // STEPS_A_GRAPH)):
            graph.replay()

    return replay


def _synchronize() -> None:
    if IS_GPU:
        torch.cuda.synchronize()


_cases: list[Case] = []  # at most one


def build(**options: Any) -> None:
    """Make the case that is asked about from now on, and forget the one before."""
    release()
    _cases.append(Case(**options))


def release() -> None:
    """Give the memory of the case back."""
    _cases.clear()
    torch.compiler.reset()  # else the ninth case would run eagerly: too many versions of one function
    gc.collect()
    if IS_GPU:
        torch.cuda.empty_cache()


def compile_case(task: str, way: str) -> float:
    """Seconds to compile."""
    return _cases[0].compile(task, way)


def prepare(task: str, way: str) -> None:
    """All that comes before the first step that is measured."""
    _cases[0].prepare(task, way)


def run(task: str, way: str, steps: int) -> float:
    """Seconds of so many steps."""
    _synchronize()
    started = time.perf_counter()
    _cases[0].runs[task, way](steps)
    _synchronize()
    seconds = time.perf_counter() - started
    return seconds * steps / (-(-steps // STEPS_A_GRAPH) * STEPS_A_GRAPH) if IS_GPU else seconds


def profile_steps(way: str, steps: int) -> dict[str, Any]:
    """Kernels a step and the longest of them, of training."""
    with torch.profiler.profile() as profiler:
        run("training", way, steps)
    on_device = torch.autograd.DeviceType.CUDA if IS_GPU else torch.autograd.DeviceType.CPU
    events = [event for event in profiler.key_averages() if event.device_type == on_device]
    name = "self_device_time_total" if IS_GPU else "self_cpu_time_total"
    events.sort(key=lambda event: -getattr(event, name))
    total = sum(getattr(event, name) for event in events) or 1.0
    return {
        "kernels_a_step": round(sum(event.count for event in events) / steps, 1),
        "busy_microseconds_a_step": round(total / steps, 1),
        "longest": [
            {
                "name": event.key[:80],
                "share": round(getattr(event, name) / total, 3),
                "a_step": round(event.count / steps, 2),
            }
            for event in events[:12]
        ],
    }


def describe() -> dict[str, Any]:
    """What the figures depend on."""
    device = torch.cuda.get_device_name() if IS_GPU else "cpu"
    cudnn = torch.backends.cudnn.version() if IS_GPU else None
    return {
        "torch": torch.__version__,
        "device": device,
        "cudnn": cudnn,
        "steps_a_graph": STEPS_A_GRAPH if IS_GPU else 0,
    }


def _answer(function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """The function with its failure as an answer."""

    @functools.wraps(function)
    def answer(**arguments: Any) -> dict[str, Any]:
        try:
            return {"value": function(**arguments)}
        except Exception as error:  # of many kinds: out of memory, no compiler, what cannot be recorded
            lines = str(error).strip().splitlines() or [""]
            return {"error": f"{type(error).__name__}: {lines[0][:300]}"}

    return answer


if __name__ == "__main__":
    functions = (build, release, compile_case, prepare, run, profile_steps, describe)
    serve({function.__name__: _answer(function) for function in functions})
