"""As many threads as XLA has, by its own count."""

import os
import subprocess
import sys

import pytest

from medjax.training.strategies import count_cores
from medjax.training.threads import count_threads

COUNT = """
import os, jax, jax.numpy as jnp
jnp.ones(3).block_until_ready()
tasks = os.listdir("/proc/self/task")
print(sum(open(f"/proc/self/task/{each}/comm").read().strip() == "tf_XLAEigen" for each in tasks))
from medjax.training.threads import count_threads
print(count_threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have names there")
@pytest.mark.parametrize("variables", [{"PJRT_NPROC": "3"}, {"PJRT_NPROC": "1", "NPROC": "2"}])
def test_xla_has_so_many(variables):
    environment = {**os.environ, **variables}
    said = subprocess.run([sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True)
    assert said.stdout.split() == [variables["PJRT_NPROC"]] * 2, said.stderr


def test_without_the_variable_there_is_one_a_core(monkeypatch):
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    assert count_threads() == count_cores()
    monkeypatch.setenv("PJRT_NPROC", "many")
    monkeypatch.setenv("NPROC", "5")
    assert count_threads() == 5
