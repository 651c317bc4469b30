"""Images without labels: each is what its type says, and what is none is refused before anything is read."""

import io
from pathlib import Path

import numpy as np
import pytest

from medjax.data.given import tell_apart
from medjax.errors import RefusedError
from medjax.records import Dataset
from tests.sample_files import png, random_pixels

GRAY = random_pixels(1, (10, 8))
RGB = random_pixels(2, (10, 8, 3))


def kinds(given):
    """What was found: paths as they are, bytes by their type, pixels by their shape."""
    return [
        each.content if isinstance(each.content, str) else getattr(each.content, "shape", bytes)
        for each in tell_apart(given)
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/scan.png", ["/scan.png"]),
        (Path("scan.png"), ["scan.png"]),
        (["a.png", Path("b")], ["a.png", "b"]),
        (iter(["a.png"]), ["a.png"]),
        (np.array(["a.png", "b.png"]), ["a.png", "b.png"]),
        (np.str_("a.png"), ["a.png"]),
        (png(1), [bytes]),
        (bytearray(png(1)), [bytes]),
        ([png(1), "a.png"], [bytes, "a.png"]),
        (io.BytesIO(png(1)), [bytes]),
        (GRAY, [(10, 8, 1)]),
        (RGB, [(10, 8, 3)]),
        (GRAY[..., None], [(10, 8, 1)]),
        (np.stack([GRAY] * 2), [(10, 8, 1)] * 2),
        (np.stack([RGB] * 2), [(10, 8, 3)] * 2),
        ([GRAY, RGB, np.stack([RGB] * 2)], [(10, 8, 1), (10, 8, 3), (10, 8, 3), (10, 8, 3)]),
    ],
    ids=lambda value: type(value).__name__,  # the texts of some hold addresses, which differ between processes
)  # fmt: skip
def test_each_is_taken_for_what_it_is(given, expected):
    assert kinds(given) == expected


def test_an_array_of_jax():
    jnp = pytest.importorskip("jax.numpy")
    assert kinds(jnp.asarray(GRAY)) == [(10, 8, 1)]


def test_names_are_those_that_there_are(tmp_path):
    (tmp_path / "scan.png").write_bytes(png(1))
    dataset = Dataset(GRAY[None, ..., None], np.zeros(1, np.int32), ("a",), np.array(["one"]), None, "")
    with (tmp_path / "scan.png").open("rb") as file:
        names = [each.name for each in tell_apart(["a.png", png(1), file, GRAY, dataset])]
    assert names == ["a.png", None, str(tmp_path / "scan.png"), None, "one"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "IMAGES: none given"),
        (None, "IMAGES: are a NoneType (give paths, bytes, files opened with 'rb'"),
        (3, "IMAGES: are a int"),
        ({"a.png": 1}, "IMAGES: are a dict"),
        ([["a.png"]], "IMAGES: contain a list"),
        ([1, 2], "IMAGES: contain a int"),
        (io.StringIO("text"), "IMAGES: is a file opened as text (open it with 'rb')"),
        (GRAY / 255, "images: are float64 from 0"),
        (GRAY.astype(np.int32), "images: are int32 from"),
        (np.zeros((10, 8, 4), np.uint8), "images: have shape (1, 10, 8, 4), so 4 channels"),
        (np.zeros((3, 10, 8), np.uint8), "images: have shape (3, 10, 8): one RGB image, or three gray ones"),
        (np.zeros((2, 3, 10, 8), np.uint8), "images: have shape (2, 3, 10, 8), so 8 channels (put channels last"),
        (np.zeros((0, 8), np.uint8), "images: are empty"),
        (np.zeros(8, np.uint8), "images: have shape (8,)"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_image_is_refused(given, reason):
    with pytest.raises(RefusedError) as refusal:
        tell_apart(given)
    assert str(refusal.value).startswith(reason)
