"""Fits as tasks of Ray. Without Ray, one line says what to install; with it, every task starts a worker."""

import sys

import pytest

from medjax.errors import RefusedError
from medjax.scale.engine import Workers
from medjax.scale.on_ray import OnRay


def test_without_ray_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RefusedError, match=r"Ray is not installed \(pip install 'medjax\[ray\]'\)"):
        OnRay(None, Workers(tmp_path, 1, None, False)).__enter__()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cross_validation_by_ray_is_that_of_one_process(phantom_folder, tmp_path):
    """In a process of its own: Ray's own warnings are none of ours."""
    pytest.importorskip("ray")
    import filecmp
    import os
    import subprocess

    words = [sys.executable, "-m", "medjax", "crossval", str(phantom_folder), "--epochs", "2", "--folds", "2"]
    words += ["--no-baselines"]
    environment = {**os.environ, "PJRT_NPROC": "1"}
    subprocess.run(
        [*words, "--run", str(tmp_path / "alone")], check=True, capture_output=True, env=environment
    )
    words += ["--on", "ray", "--threads-per-fit", "1"]
    done = subprocess.run([*words, "--run", str(tmp_path / "ray")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "whoever reaches a port of Ray can run code" in done.stderr
    names = (tmp_path / "alone" / "predictions.csv", tmp_path / "ray" / "predictions.csv")
    assert filecmp.cmp(*names, shallow=False)
