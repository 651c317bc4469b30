"""Fits as tasks of Ray: each starts a worker for one description, and holds as many of Ray's CPUs as it has threads.

Ray moves the paths of descriptions, and nothing else of ours: what a fit answers is its run directory, on a disk that all
machines share. Reference: Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, OSDI 2018,
https://arxiv.org/abs/1712.05889
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medjax.errors import refuse
from medjax.scale.engine import Workers
from medjax.scale.on_local import Local
from medjax.training.strategies import count_cores

WARNING = "whoever reaches a port of Ray can run code as you: keep it on this machine, or in a network that you trust"
_STORE_BYTES = 100 * 2**20  # that Ray takes of memory; only paths go through it
_RETRIES = 2  # of a task whose machine is lost
_SECONDS_TO_SAVE = 60.0


class OnRay:
    """A Ray of its own on this machine, reached by loopback alone, or with an `address` one that is running."""

    def __init__(self, address: str | None, workers: Workers) -> None:
        self._address, self._workers = address, workers
        self._ray: Any = None

    def __enter__(self) -> "OnRay":
        try:
            import ray
        except ImportError:
            raise refuse("--on ray", "Ray is not installed", "pip install 'medjax[ray]'") from None
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # of a Ray that this starts
        options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
        if self._address is None:
            options |= {
                "address": "local",
                "num_cpus": max(count_cores(), self._workers.threads),
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
            }
        else:
            options |= {"address": self._address}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = f"Ray cannot be reached ({str(error).splitlines()[0]})"
            raise refuse(
                f"--on ray:{self._address or ''}", reason, "start it, or leave its address out"
            ) from error
        self._ray = ray
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ray.shutdown()

    def run(self, fits: Sequence[Path], tell: Callable[[Path], None]) -> None:
        """Have each description worked on by a task; by an exception tasks are told to stop, and waited for."""
        ray = self._ray
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        task = ray.remote(_do).options(
            num_cpus=self._workers.threads, num_gpus=int(has_gpus), max_retries=_RETRIES
        )
        running = {task.remote(tuple(self._workers), str(fit.absolute())): fit for fit in fits}
        try:
            while running:
                over, _ = ray.wait(list(running), num_returns=1)
                for each in over:
                    tell(running.pop(each))
        except BaseException:
            for each in running:
                ray.cancel(each, force=False, recursive=True)
            ray.wait(list(running), num_returns=len(running), timeout=_SECONDS_TO_SAVE)
            raise


def _do(workers: tuple[Any, ...], fit: str) -> None:
    """One task, on whatever machine: a worker of its own, which ends if this does."""
    path = Path(fit)
    with Local(1, Workers(path.parent, *workers[1:]), log=path.stem) as engine:
        engine.run([path], lambda path: None)
