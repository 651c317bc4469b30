"""Names and shapes in the weights that torchvision 0.28, timm 1.0.31 and efficientnet-lite-pytorch 0.1 save.

Of timm only where they differ from torchvision's: those of its resnet18 and densenet121 are the same.
"""

import functools
from pathlib import Path


@functools.cache
def read_published_names():
    """By network and library: the shapes by name."""
    found = {}
    for line in Path(__file__).with_name("published_names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            entries = found.setdefault(tuple(line.strip("[]").split()), {})
        else:
            name, *sides = line.split()
            entries[name] = tuple(map(int, sides))
    return found
