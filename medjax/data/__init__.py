"""Images from wherever they lie, on the host: NumPy and Pillow, never JAX.

`load` reads a labelled data set, `load_images` images alone; `holdout`, `split_dataset`, `k_fold` and `fold_splits`
divide what was read; `duplicates` and `leakage` say what of it is there twice, and on both sides; `fetch` downloads a published set, `export_split` lays one out in train and test folders.
"""

from medjax.data.export import export_split
from medjax.data.phantom import make_phantom
from medjax.data.published import fetch
from medjax.data.sources import fingerprint, load, load_images
from medjax.data.splits import fold_splits, holdout, k_fold, split_dataset

__all__ = [
    "export_split",
    "fetch",
    "fingerprint",
    "fold_splits",
    "holdout",
    "k_fold",
    "load",
    "load_images",
    "make_phantom",
    "split_dataset",
]
