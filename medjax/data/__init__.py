"""Images from wherever they lie, on the host: NumPy and Pillow, never JAX.

`load` reads a labelled data set, `load_images` images alone, `holdout` and `split_dataset` divide what was read.
"""

from medjax.data.phantom import make_phantom
from medjax.data.sources import fingerprint, load, load_images
from medjax.data.splits import holdout, split_dataset

__all__ = ["fingerprint", "holdout", "load", "load_images", "make_phantom", "split_dataset"]
