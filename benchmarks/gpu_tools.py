"""What the measurements of `benchmarks.gpu` share: how much is measured, with what, and rows that keep a failure."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.gpu_network import Case, GpuNetwork
from benchmarks.gpu_peer_side import GpuPeer

Row = dict[str, Any]


class Sizes(NamedTuple):
    """How much is measured."""

    sides: tuple[int, int] = (28, 64)
    batches: tuple[int, ...] = (512, 2048, 64)  # the most important first
    resnet: tuple[int, tuple[int, ...]] = (64, (2, 2, 2, 2))  # its width, and blocks of each stage
    num_images: int = 16_384
    asked_images: int = 32_768
    report_batch: int = 32  # of the published cross-validation
    product_side: int = 8192
    copied_bytes: int = 2**30
    turn_seconds: float = 0.2
    turns: int = 5
    profiled_steps: int = 16
    seeds: int = 5
    epochs: int | None = None  # to accuracy; None for the recipe's

    @classmethod
    def small(cls) -> "Sizes":
        """For a CPU, to see that all of it runs."""
        return cls(
            sides=(12, 16),
            batches=(4, 8),
            resnet=(4, (1, 1)),
            num_images=32,
            asked_images=64,
            report_batch=4,
            product_side=128,
            copied_bytes=2**16,
            turn_seconds=0.01,
            turns=1,
            profiled_steps=2,
            seeds=2,
            epochs=1,
        )


class Tools(NamedTuple):
    """What every measurement may use."""

    sizes: Sizes
    data: str
    peer: GpuPeer | None
    left: Callable[[], float]  # seconds until the time is over
    figures: dict[str, Any]  # measured so far, by table
    # Networks that are compiled, and their programs' text, by case and way.
    kept: dict[tuple[Case, str], tuple[GpuNetwork, str]]


class Recording:
    """Keeps a failure as the row's, by way, so that the other ways are measured."""

    def __init__(self, row: Row, way: str) -> None:
        self._row, self._way = row, way

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Keep an error; Ctrl-C goes on."""
        if not isinstance(error, Exception):
            return False
        lines = str(error).strip().splitlines() or [""]
        self._row.setdefault("failures", {})[self._way] = f"{type(error).__name__}: {lines[0][:300]}"
        return True


def start_row(case: Case) -> Row:
    """What a row begins with."""
    about = {"network": case.name, "batch": case.batch_size, "arithmetic": case.mode}
    return {**about, "compile_seconds": {}}
