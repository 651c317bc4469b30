"""Shapes and types checked at run time, a cache of the tests' own, and the data that several test files read."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

# Many tests compile the same programs: the first to do so keeps them for the others, processes of their own included.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="medjax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# Before anything imports medjax: every annotated function then checks its arguments' shapes and dtypes. Except the
# command line, where tyro's mark of a missing argument stands in for values of any type, and the configurations, which
# are made from values of other types and refuse wrong ones themselves.
ROOMS = [
    path.stem
    for path in (Path(__file__).parents[1] / "medjax").glob("[!_]*")
    if path.stem not in ("cli", "command_help", "commands", "config")
]


def pytest_configure(config: pytest.Config) -> None:
    """Check shapes and types, but where thousands of runs are opened; compute on a CPU, but where a GPU is asked for."""
    if config.option.markexpr != "fuzz":
        jaxtyping.install_import_hook([f"medjax.{room}" for room in ROOMS], "beartype.beartype")
    if config.option.markexpr != "gpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports JAX


SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def _shared(name: str) -> Path:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{name}, real data that the repository does not hold, is not at hand")
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
    """Keep tests out of the user's cache, and from the user's key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDJAX_KEY_DIR", str(tmp_path_factory.mktemp("key")))
        yield


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per class of phantom images as PNG files, 20 of each."""
    from PIL import Image

    from medjax.data.phantom.dataset import make_phantom

    folder = tmp_path_factory.mktemp("data") / "phantoms"
    dataset = make_phantom(seed=1, images_per_class=20)
    for image, name in zip(dataset.images, dataset.ids, strict=True):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    return folder


@pytest.fixture(scope="session")
def trained_run(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A short run over the folder above; read it, do not write into it."""
    from medjax.jobs.train import train
    from tests.configs import plain

    return train(phantom_folder, plain(epochs=2), run_dir=tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture(scope="session")
def crossval_run(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A short cross-validation over the same folder; read it, do not write into it."""
    from medjax.config import CrossvalConfig
    from medjax.jobs.train import cross_validate
    from tests.configs import plain

    config = CrossvalConfig(folds=3, training=plain(epochs=2))
    return cross_validate(phantom_folder, config, run_dir=tmp_path_factory.mktemp("runs") / "crossval")


@pytest.fixture
def accelerator() -> None:
    """Skip where there is none."""
    import jax

    if jax.default_backend() == "cpu":
        pytest.skip("no accelerator here")
