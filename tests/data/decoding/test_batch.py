"""A batch of mixed images: everything is decoded or has its fault, under its own index."""

import numpy as np

from medjax.config import DataConfig
from medjax.data.decoding.batch import decode_batch
from medjax.data.decoding.image import decode_image
from medjax.data.reading.listing import Fault
from tests.sample_files import jpeg, png

CONFIG = DataConfig(image_size=6)


def test_images_and_faults_keep_their_indices():
    fault = Fault("cannot be read", "check")
    images = [jpeg(0), fault, png(1), b"noise", jpeg(2), jpeg(3)[:-20]]
    results, faults = decode_batch(images, CONFIG)
    found = {
        index: pixels
        for indices, stack in results
        for index, pixels in zip(indices, stack.pixels, strict=True)
    }
    assert sorted(found) == [0, 2, 4]
    for index, pixels in found.items():
        np.testing.assert_array_equal(pixels, decode_image(images[index], CONFIG).pixels)
    assert [index for index, _ in faults] == [1, 3, 5]
    assert faults[0][1] == fault
    assert "truncated" in faults[2][1].reason


def test_nothing_gives_nothing():
    assert decode_batch([], CONFIG) == ([], [])
