"""How --on is read, and how the cores are shared out."""

import pytest

from medjax.errors import RefusedError
from medjax.scale import choose_engine as module
from medjax.scale.choose_engine import choose_engine


@pytest.mark.parametrize(
    ("on", "threads", "expected"),
    [
        ("local", None, ("local:8", 1)),
        ("local", 2, ("local:4", 2)),
        ("local", 16, ("local:1", 16)),
        ("local:2", None, ("local:2", 4)),
        ("local:3", None, ("local:3", 2)),
        ("local:20", None, ("local:20", 1)),
        ("local:2", 1, ("local:2", 1)),
        ("ray", None, ("ray", 1)),
        ("ray:10.0.0.1:6379", 4, ("ray:10.0.0.1:6379", 4)),
        ("slurm", None, ("slurm", 1)),
        ("slurm:local", 2, ("slurm:local", 2)),
    ],
)
def test_cores_are_shared_out(monkeypatch, on, threads, expected):
    monkeypatch.setattr(module, "count_cores", lambda: 8)
    choice = choose_engine(on, threads)
    assert (choice.warning is not None) == on.startswith("ray")
    assert (choice.words, choice.threads) == expected


@pytest.mark.parametrize(
    "on",
    [
        "",
        "locally",
        "local:",
        "local:0",
        "local:-1",
        "local:x",
        "local:9999999",
        "local:2:2",
        "ray:",
        "slurm:",
        "slurm:gpu",
    ],
)
def test_other_engines_are_refused(on):
    with pytest.raises(RefusedError, match=r"^--on: "):
        choose_engine(on, None)


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_so_many_threads_are_refused(threads):
    with pytest.raises(RefusedError, match=r"--threads-per-fit: .* is out of range"):
        choose_engine("local", threads)
