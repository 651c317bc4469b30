"""Arrays from decoded images, and what only all of them together show."""

from collections import Counter

import numpy as np

from medjax.data.decoding.collect import assemble, conflict_problems, find_conflicts, mixed_color_problems
from medjax.data.decoding.image import DecodedStack


def decoded(*values, channels=1, changes=()):
    stacked = np.array(values, np.uint8)
    pixels = np.broadcast_to(stacked[:, None, None, None], (len(values), 2, 2, channels))
    return DecodedStack(pixels, np.repeat(stacked[:, None], 32, axis=1), changes)


def test_images_go_to_their_positions():
    stacks = [([2, 0], decoded(3, 1, changes=("resized",))), ([3], decoded(4)), ([1], decoded(2))]
    assembled = assemble(stacks, 4, 2)
    assert assembled.images[:, 0, 0, 0].tolist() == assembled.digests[:, 5].tolist() == [1, 2, 3, 4]
    assert assembled.changes == {"resized": 2}
    assert assembled.channels == {1: 4}
    assert assembled.examples == {1: 0}


def test_mixed_colors_are_counted_with_an_example_of_each():
    assembled = assemble([([2, 1], decoded(3, 1, channels=3)), ([0], decoded(2))], 3, 2)
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
    assert assemble([], 0, 28).images.shape == (0, 28, 28, 1)
    assert find_conflicts(np.zeros((0, 32), np.uint8), np.zeros(0, np.int32)) == []
