"""`--freeze features` without augmentation: what the features make of each image is computed once."""

import math
import time

import jax

from medjax.config import TrainConfig
from medjax.errors import counted
from medjax.jobs.sharing import Same, once
from medjax.memory import in_words
from medjax.models.network import Network
from medjax.models.parts import split_parts
from medjax.progress import Display
from medjax.records import Dataset
from medjax.training.compilation import Numerics, make_numerics
from medjax.training.features_once import Probe, make_probe, map_shape

_BYTES = 4  # of a number
# Not what is free, which may differ when a run is continued.
_MOST_BYTES = 2 * 2**30


def caches_features(config: TrainConfig, network: Network, dataset: Dataset) -> bool:
    """Whether the features of an image are computed once: they are the same in every epoch, and not too many.

    RefusedError where the network has no parts `features` and `head` for a configuration that treats them apart.
    """
    shape = dataset.images.shape[1:]
    if config.features_rate != 1:
        split_parts(network, shape, "--features-rate")
    if config.freeze == "none":
        return False
    maps = map_shape(network, shape)
    is_small = _BYTES * math.prod(maps) * len(dataset.images) <= _MOST_BYTES
    return not config.augment and config.unfreeze_after is None and len(maps) == 3 and is_small


def compute_features(
    config: TrainConfig, network: Network, arrays: tuple[jax.Array, jax.Array], display: Display
) -> Probe:
    """The features of all images, and in a line how long they took; of runs that share them, once."""
    numerics = make_numerics(config.compute, deterministic=config.deterministic)
    what = "probe", network, Same(arrays), numerics
    return once(what, lambda: _compute(network, arrays, numerics, display))


def _compute(
    network: Network, arrays: tuple[jax.Array, jax.Array], numerics: Numerics, display: Display
) -> Probe:
    display.start("computing features")
    started = time.perf_counter()
    probe = make_probe(network, *arrays, numerics=numerics)
    jax.block_until_ready(probe.maps)
    size = in_words(probe.maps.images.size * _BYTES)
    count = counted(len(probe.maps.images), "image")
    seconds = time.perf_counter() - started
    display.say(f"features of {count} computed once, in {seconds:.1f} s; they take {size}")
    return probe
