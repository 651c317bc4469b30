"""Fixtures that several test files share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def _shared(name: str) -> Path:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    return path


@pytest.fixture(scope="session")
def medical_mnist() -> Path:
    """The 58,954 images of Medical MNIST in a zip."""
    return _shared("medical-mnist.zip")


@pytest.fixture(scope="session")
def retinamnist() -> Path:
    """RetinaMNIST as published, 1,600 images in official parts."""
    return _shared("retinamnist.npz")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
