"""The asking side of PyTorch on a GPU: a process that is started again after a failure, and no call without a limit."""

from pathlib import Path
from typing import Any

from benchmarks.gpu_network import Case
from benchmarks.layers import as_json
from benchmarks.peers.client import Peer


class GpuPeer:
    """PyTorch's process. It is started anew after a failure that may have spoiled it."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self._peer: Peer | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._peer is not None

    def start(self) -> None:
        """Start the process, unless it runs; it answers once PyTorch is imported."""
        if self._peer is None:
            self._peer = Peer("gpu", python=self._python)

    def build(self, case: Case, num_images: int, seconds: float) -> None:
        """Make the case."""
        self.start()
        fields = {name: getattr(case, name) for name in ("side", "channels", "batch_size", "mode", "dropout")}
        self.call("build", seconds, tree=as_json(case.tree), num_images=num_images, **fields)

    def call(self, function: str, seconds: float, **arguments: Any) -> Any:
        """Its answer within so many seconds."""
        self.ask(function, **arguments)
        return self.wait(seconds)

    def ask(self, function: str, **arguments: Any) -> None:
        """Have it begin."""
        if self._peer is None:
            raise RuntimeError("PyTorch is not there after a failure")
        self._peer.ask(function, **arguments)

    def wait(self, seconds: float) -> Any:
        """What was asked for; RuntimeError for what PyTorch refuses. The process is ended where it may be spoiled."""
        assert self._peer is not None
        try:
            answer = self._peer.wait(max(seconds, 1.0))
        except (TimeoutError, RuntimeError):
            self.close()
            raise
        if "error" in answer:
            if "CUDA" in answer["error"] and "out of memory" not in answer["error"]:
                self.close()  # a failed kernel or recording leaves the device's context unusable
            raise RuntimeError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """End the process, and with it all that it holds on the device."""
        if self._peer is not None:
            self._peer.__exit__(None, None, None)
        self._peer = None
