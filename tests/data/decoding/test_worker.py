"""What a worker answers, and that nothing of it is lost on the way."""

import numpy as np
import pytest
from PIL import Image

from medjax.config import DataConfig
from medjax.data.decoding.image import DecodedStack, decode_image
from medjax.data.decoding.worker import CHANGES, pack, receive, send, unpack
from medjax.data.dicom.decode import decode_dicom
from medjax.records import LoadCounts
from tests.dicom_files import dicom, ramp
from tests.sample_files import encode, png, random_pixels

CONFIG = DataConfig(image_size=6)


def test_all_that_decoding_can_change_has_a_bit():
    """In the order in which the changes come."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(np.dstack([random_pixels(0, (9, 8, 3)), random_pixels(1, (9, 8))]), exif=exif)
    deep = encode(np.full((9, 8), 500, np.uint16), exif=exif)
    found = set()
    for data in (turned, deep):
        for fit in ("stretch", "pad", "crop"):
            config = DataConfig(image_size=6, color="gray", background="black", fit=fit, window="auto")
            changes = decode_image(data, config).changes
            assert changes == tuple(change for change in CHANGES if change in changes)
            found |= {*changes}
    x_ray = dicom(ramp(), "CR", PhotometricInterpretation="MONOCHROME1")
    color = dicom(random_pixels(0, (9, 8, 3)))
    images = [
        (dicom(ramp(), "CT"), (0, 9)),
        (dicom(ramp()), (0, 9)),
        (dicom(ramp()), "auto"),
        (x_ray, "auto"),
    ]
    for data, window in [*images, (color, "auto")]:
        changes = decode_dicom(data, DataConfig(image_size=6, window=window)).changes
        assert changes == tuple(change for change in CHANGES if change in changes)
        found |= {*changes}
    assert found == {*CHANGES}


def two(image):
    return DecodedStack(
        np.stack([image.pixels] * 2),
        np.stack([image.digest] * 2),
        image.changes,
        image.size,
        image.largest,
        image.subject,
    )


def test_every_answer_survives_the_way():
    changes = [(), ("resized",), ("composited", "reoriented", "padded", "recolored")]
    images = [
        decode_image(png(seed, shape), CONFIG)._replace(changes=changes[seed])
        for seed, shape in enumerate([(9, 9, 3), (9, 9), (7, 8, 3)])
    ]
    deep = encode(np.arange(72, dtype=np.uint16).reshape(9, 8) * 900)
    images.append(decode_image(deep, DataConfig(image_size=6, window="auto")))
    images += [decode_dicom(dicom(ramp()), DataConfig(image_size=6, depth=depth)) for depth in (8, 16)]
    answers = [((7 * place, 7 * place + 1), two(image)) for place, image in enumerate(images)]
    again = unpack(pack(answers), (6, 6))
    for (places, stack), (copied_places, copy) in zip(answers, again, strict=True):
        assert copied_places == places
        assert copy.pixels.dtype == stack.pixels.dtype
        np.testing.assert_array_equal(copy.pixels, stack.pixels)
        np.testing.assert_array_equal(copy.digests, stack.digests)
        assert copy.pixels.dtype == stack.pixels.dtype
        assert copy[2:] == stack[2:]
    assert set(CHANGES) < set(LoadCounts._fields)


@pytest.mark.parametrize("strings", [[b"one", b"", b"three" * 99], [b""]])
def test_messages_arrive_whole_and_one_by_one(tmp_path, strings):
    with open(tmp_path / "pipe", "w+b") as stream:
        send(stream, strings)
        send(stream, [b"next"])
        stream.seek(0)
        assert [receive(stream), receive(stream), receive(stream)] == [strings, [b"next"], []]
        stream.seek(1)
        with pytest.raises(ValueError, match="no message begins here"):
            receive(stream)
