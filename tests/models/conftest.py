"""Tests of models ask for CPU kernels, on whatever machine they run."""

import pytest

from medjax.models.cpu_kernels import availability


@pytest.fixture(autouse=True)
def _kernels_are_wanted(monkeypatch):
    monkeypatch.setenv(availability.VARIABLE, "1")
