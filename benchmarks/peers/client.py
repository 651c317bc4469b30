"""The asking side: a peer's process, kept alive between calls so that turns measure work and not start-up."""

import importlib.util
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

PeerName = Literal["keras", "pytorch", "networks", "gpu", "opencv", "torchvision"]
PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
# The C library gives large blocks back to the system as soon as they are free, and every step of a peer asks for them
# again: without that PyTorch trains 1.5 times faster at batch 128. It is the peers' guides that advise it.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def find_torch() -> Path | None:
    """A Python that has PyTorch: this one, else the peers' own; None where neither is there."""
    if importlib.util.find_spec("torch") is not None:
        return Path(sys.executable)
    return PYTHON if PYTHON.exists() else None


class Peer:
    """A running peer. Use as a context manager; `call` waits for the answer."""

    def __init__(self, name: PeerName, *, python: Path = PYTHON, **variables: str) -> None:
        """Start `benchmarks.peers.<name>_peer` in the peers' own environment, with these environment variables too."""
        if not python.exists():
            raise SystemExit("the peers are not installed: run make peers, or give --no-peers")
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.peers.{name}_peer"],
            cwd=Path(__file__).parents[2],
            env=os.environ | KEEP_MEMORY | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, function: str, **arguments: Any) -> Any:
        """What the peer's function of that name returns; arguments and result are JSON values."""
        self.ask(function, **arguments)
        return self.wait()

    def ask(self, function: str, **arguments: Any) -> None:
        """Have the peer begin; `wait` then gives what the function returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": function, "arguments": arguments}) + "\n")
        self._process.stdin.flush()

    def wait(self, seconds: float | None = None) -> Any:
        """The answer to `ask`; TimeoutError where it takes longer, after which the peer is good for nothing."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the peer ended; its own words are above")
        return json.loads(answer)["result"]

    def __enter__(self) -> "Peer":
        """The peer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, and close its pipes."""
        with self._process:
            self._process.kill()
