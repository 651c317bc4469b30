"""Folders of images as users of torchvision read them: its `ImageFolder` opens with Pillow, `torchvision.io` does not."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.peers.server import serve

try:
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2.functional import resize

    HAS_IO = True
except (ImportError, OSError, RuntimeError):  # a build of torchvision for another build of torch
    HAS_IO = False

torch.set_num_threads(1)


def variants() -> list[str]:
    """The functions below that can be called with what is installed."""
    return ["load_with_pillow", "load_with_io"] if HAS_IO else ["load_with_pillow"]


def load_with_pillow(folder: str, side: int) -> dict:
    """Seconds for all images below `folder`, gray and `side` pixels square, and the shape of the result.

    Opened, converted and resized as `ImageFolder` with `Grayscale` and `Resize` does, without their calls.
    """
    started = time.perf_counter()
    images = []
    for path in _files(folder):
        with Image.open(path) as image:
            small = image.convert("L").resize((side, side), Image.Resampling.BILINEAR)
        images.append(torch.from_numpy(np.array(small)))
    return _answer(started, images)


def load_with_io(folder: str, side: int) -> dict:
    """The same with the decoder that torchvision brings."""
    started = time.perf_counter()
    images = []
    for path in _files(folder):
        image = decode_jpeg(read_file(str(path)), ImageReadMode.GRAY)
        images.append(resize(image, [side, side], antialias=True))
    return _answer(started, images)


def _files(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in (".jpeg", ".jpg"))


def _answer(started: float, images: list[torch.Tensor]) -> dict:
    shape = list(torch.stack(images).shape)
    return {"seconds": time.perf_counter() - started, "shape": shape}


if __name__ == "__main__":
    serve({"variants": variants, "load_with_pillow": load_with_pillow, "load_with_io": load_with_io})
