"""Arrays from decoded images, and what only all of them together show."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.decoding.collect import (
    assemble,
    conflict_problems,
    develop,
    find_conflicts,
    mixed_color_problems,
    select,
)
from medjax.data.decoding.image import DecodedStack
from medjax.errors import RefusedError
from medjax.records import Window

CONFIG = DataConfig(image_size=2)


def decoded(*values, channels=1, changes=(), size=(2, 2), dtype=np.uint8):
    stacked = np.array(values, dtype)
    changes = (*changes, "rescaled") if dtype == np.uint16 else changes
    pixels = np.broadcast_to(stacked[:, None, None, None], (len(values), 2, 2, channels))
    digests = np.repeat(stacked[:, None].astype(np.uint8), 32, axis=1)
    return DecodedStack(pixels, digests, changes, size, int(stacked.max()))


def test_images_go_to_their_positions():
    stacks = [([2, 0], decoded(3, 1, changes=("resized",))), ([3], decoded(4)), ([1], decoded(2))]
    assembled = assemble(stacks, 4, CONFIG)
    assert assembled.images[:, 0, 0, 0].tolist() == assembled.digests[:, 5].tolist() == [1, 2, 3, 4]
    assert assembled.changes == {"resized": 2}
    assert assembled.channels == {1: 4}
    assert assembled.examples == {1: 0}
    assert develop([assembled], CONFIG) == ([assembled], None)


def test_the_range_of_sizes_is_kept():
    sizes = [(40, 50), (30, 20), (100, 100), (60, 10), (20, 30)]
    stacks = [([position], decoded(1, size=size)) for position, size in enumerate(sizes)]
    assert assemble(stacks, 5, CONFIG).sizes == ((20, 30), (100, 100))


DEEP = DataConfig(image_size=2, window="auto")


def test_one_window_is_found_for_all_images_of_sixteen_bits():
    """Over several sources too; images of 8 bits among them stay as they are."""
    stacks = [([1], decoded(4095, dtype=np.uint16)), ([0], decoded(7)), ([2], decoded(0, dtype=np.uint16))]
    first = assemble(stacks, 3, DEEP)
    second = assemble([([0], decoded(1000, dtype=np.uint16))], 1, DEEP)
    (first, second), window = develop([first, second], DEEP)
    assert window == Window(0, 4095, 3)
    assert first.images[:, 0, 0, 0].tolist() == [7, 255, 0]
    assert second.images[:, 0, 0, 0].tolist() == [62]
    third = assemble([([0], decoded(1000, dtype=np.uint16))], 1, DEEP)
    (third,), window = develop([third], replace(DEEP, window=(900, 1000)))
    assert window == Window(900, 1000, 1)
    assert (third.images == 255).all()


def test_gray_levels_may_keep_sixteen_bits():
    stacks = [([1], decoded(4095, 0, dtype=np.uint16)), ([0], decoded(7))]
    stacks = [([1, 2], stacks[0][1]), stacks[1]]
    (part,), window = develop([assemble(stacks, 3, DEEP)], replace(DEEP, depth=16))
    assert part.images.dtype == np.uint16
    assert part.images[:, 0, 0, 0].tolist() == [7 * 257, 65535, 0]
    assert window == Window(0, 4095, 2, 16)


def test_images_may_be_left_out_without_a_copy():
    stacks = [([position], decoded(position)) for position in range(5)]
    assembled = assemble(stacks, 5, CONFIG)
    chosen = select(assembled, np.array([0, 2, 3]))
    assert chosen.images[:, 0, 0, 0].tolist() == chosen.digests[:, 0].tolist() == [0, 2, 3]
    assert np.shares_memory(chosen.images, assembled.images)


@pytest.mark.parametrize(
    ("settings", "bytes_per_image"), [({}, 4), ({"color": "rgb"}, 12), ({"window": "auto"}, 12)]
)
def test_what_does_not_fit_into_memory_is_refused_before_anything_is_decoded(
    settings, bytes_per_image, monkeypatch
):
    config = DataConfig(image_size=2, **settings)
    monkeypatch.setattr("medjax.memory.available_memory", lambda: 10 * bytes_per_image)
    assert len(assemble([], 10, config).digests) == 10

    def decoding():
        pytest.fail("decoded")
        yield

    with pytest.raises(RefusedError, match="11 images of 2 by 2 pixels: need") as error:
        assemble(decoding(), 11, config)
    assert "--image-size 1 or less" in str(error.value)


def test_colors_that_are_found_only_then_are_counted_as_well(monkeypatch):
    monkeypatch.setattr("medjax.memory.available_memory", lambda: 50)
    assemble([([0], decoded(1))], 10, CONFIG)
    with pytest.raises(RefusedError, match="10 images"):
        assemble([([0], decoded(1, channels=3))], 10, CONFIG)


def test_mixed_colors_are_counted_with_an_example_of_each():
    assembled = assemble([([2, 1], decoded(3, 1, channels=3)), ([0], decoded(2))], 3, CONFIG)
    problem = mixed_color_problems(assembled.channels, {n: "abc"[i] for n, i in assembled.examples.items()})[
        0
    ]
    assert problem.name == "b"
    assert "one of 2 RGB images" in problem.reason
    assert "1 are gray, such as a" in problem.reason
    assert mixed_color_problems(Counter({3: 5}), {3: "a"}) == []


def test_conflicts_are_found_and_named():
    digests = np.repeat(np.array([[1], [2], [1], [2], [1], [0], [0]], np.uint8), 32, axis=1)
    labels = np.array([0, 0, 1, 0, 0, 0, 1], np.int32)
    groups = find_conflicts(digests, labels)
    assert groups == [[0, 2, 4]]
    problems = conflict_problems(groups, list("abcdefg"), labels, ("cat", "dog"))
    assert [problem.name for problem in problems] == ["c"]
    assert "same pixels as a" in problems[0].reason
    assert "dog and cat" in problems[0].reason


def test_pixels_are_the_same_if_all_of_a_digest_is():
    digests = np.zeros((3, 32), np.uint8)
    digests[:, :8], digests[1:, -1] = 7, 9
    assert find_conflicts(digests, np.array([0, 0, 1], np.int32)) == [[1, 2]]
    assert find_conflicts(digests[:2], np.array([0, 1], np.int32)) == []


def test_nothing_at_all():
    assert assemble([], 0, DataConfig()).images.shape == (0, 28, 28, 1)
    assert find_conflicts(np.zeros((0, 32), np.uint8), np.zeros(0, np.int32)) == []
