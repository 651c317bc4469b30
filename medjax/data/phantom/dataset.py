"""The built-in data set: six classes of drawings that imitate those of Medical MNIST, for use without a download.

Every image is synthetic: random ellipses, strokes and noise. It contains no patient data and no copied pixel, only hints
at anatomy, and no clinical conclusion may be drawn from it. Installations, tests and lessons can run on it.

Lengths are in body units: the image spans -1 to 1 along both axes, x to the right, y down. Gray levels run from 0 (air,
black) to 1 (bone, white); the last step rounds them to 0 to 255. Rotations are given as the tangent of half the clockwise
angle, so that pixels need only float32 arithmetic and square roots, and their last bits do not depend on a platform's
sine. The random draws are as stable as NumPy's Generator.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from medjax.data.decoding.image import digest
from medjax.data.phantom.anatomy import (
    ABDOMEN,
    BREASTS,
    CHEST,
    DENSE_FILM,
    FAT,
    FILM,
    FINGERS,
    GLAND,
    HEAD,
    PALM,
    SKULL_BASE,
    WRIST,
    Organ,
)
from medjax.errors import refuse
from medjax.records import Dataset

SIDE = 64  # height and width in pixels, as in Medical MNIST
MAX_IMAGES_PER_CLASS = 100_000  # ids have five digits, so that they sort by number
MAX_SEED = 2**32 - 1  # one word of entropy: a longer seed could equal another (seed, class, index)
EDGE_WIDTH = 0.04  # body units: more than a pixel (2 / 64), so that edges are smooth
JITTER = 0.03  # largest random change of an organ's position or half axis, in body units
NEGATIVE_SHARE = 0.15  # films with black bones (DICOM's MONOCHROME1), the hardest images for linear models

Plane = Float32[np.ndarray, "height width"]


class Frame(NamedTuple):
    """The coordinates of each pixel in body units, after undoing the pose."""

    x: Plane
    y: Plane


def make_phantom(seed: int = 0, images_per_class: int = 600) -> Dataset:
    """Draw `images_per_class` synthetic images of each class, 64×64 gray, ordered by id.

    Image i of a class depends only on the seed, the class and i, not on the number of images. Raises RefusedError unless
    0 ≤ seed < 2³² and 1 ≤ images_per_class ≤ 100,000.
    """
    for name, value, low, high in (
        ("seed", seed, 0, MAX_SEED),
        ("images_per_class", images_per_class, 1, MAX_IMAGES_PER_CLASS),
    ):
        if not low <= value <= high:
            raise refuse(name, f"{value} is out of range", f"{low} to {high}")
    class_names = tuple(DRAWINGS)
    numbers = [(label, index) for label in range(len(class_names)) for index in range(images_per_class)]
    images = np.stack([_draw(seed, label, index) for label, index in numbers])
    return Dataset(
        images=images,
        labels=np.array([label for label, _ in numbers], dtype=np.int32),
        class_names=class_names,
        ids=np.array([f"{class_names[label]}/synthetic-{index:05d}" for label, index in numbers]),
        digests=np.stack([digest(image) for image in images]),
        name="phantom",
        is_synthetic=True,
    )


def _draw(seed: int, label: int, index: int) -> UInt8[np.ndarray, "height width 1"]:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, label, index])))
    frame = _pose(generator)
    image = tuple(DRAWINGS.values())[label](generator, frame)
    return _expose(generator, frame, image)[..., None]


def _draw_trunk(organs: tuple[Organ, ...], generator: np.random.Generator, frame: Frame) -> Plane:
    return _paint(generator, _table(generator, frame, 1.3, 0.75), frame, organs)


def _draw_breasts(generator: np.random.Generator, frame: Frame) -> Plane:
    levels = {FAT: 0.35, GLAND: 0.70} if generator.random() < 0.35 else {}  # fat suppressed
    organs = tuple(organ._replace(level=levels.get(organ.level, organ.level)) for organ in BREASTS)
    fullness, end = _uniform(generator, (0.8, 1.7), (0.8, 1.4))
    y = frame.y + (fullness - 1) * np.minimum(frame.y - 0.35, 0)  # stretches the region above the chest wall
    image = _paint(generator, np.zeros_like(frame.x), Frame(frame.x, y), organs)
    return image * _edge(end - frame.y)  # the end of the coil's field of view


def _draw_chest_film(generator: np.random.Generator, frame: Frame) -> Plane:
    frame = Frame(0.85 * frame.x, 0.85 * frame.y)  # a chest fills its film
    image = _paint(generator, np.zeros_like(frame.x), frame, FILM)
    count, bend, strength = _uniform(generator, (3.5, 5.0), (0.4, 1.0), (0.3, 1.2))
    ribs = (frame.y + bend * (np.abs(frame.x) - 0.45) ** 2) * count
    shadow = np.maximum(np.abs(ribs - np.floor(ribs) - 0.5) - 0.2, 0)
    image = image + strength * shadow * _ellipse(frame, 0.0, 0.0, 0.80, 0.90, 0.0)
    return _develop(generator, _paint(generator, image, frame, DENSE_FILM))


def _draw_hand(generator: np.random.Generator, frame: Frame) -> Plane:
    is_left = generator.random() < 0.5
    frame = Frame(-frame.x if is_left else frame.x, frame.y)
    width, gap = _uniform(generator, (0.05, 0.07), (3.0, 8.0))
    flesh, bones = _paint(generator, np.zeros_like(frame.x), frame, PALM), np.zeros_like(frame.x)
    for *ends, count in FINGERS:
        x, y, tip_x, tip_y = (np.array(ends) + generator.uniform(-0.05, 0.05, 4)).tolist()
        along, distance = _along(frame, x, y, tip_x, tip_y)
        flesh = np.maximum(flesh, 0.34 * _edge(1.7 * width - distance))
        bones = np.maximum(bones, _phalanges(along, distance, count, width, gap))
    return _develop(generator, _paint(generator, flesh + bones * (0.8 - flesh), frame, WRIST))


def _draw_head(generator: np.random.Generator, frame: Frame) -> Plane:
    organs = HEAD + SKULL_BASE if generator.random() < 0.35 else HEAD
    return _paint(generator, _table(generator, frame, 0.85, 0.95), frame, organs)


DRAWINGS: dict[str, Callable[[np.random.Generator, Frame], Plane]] = {  # sorted by name
    "AbdomenCT": partial(_draw_trunk, ABDOMEN),
    "BreastMRI": _draw_breasts,
    "CXR": _draw_chest_film,
    "ChestCT": partial(_draw_trunk, CHEST),
    "Hand": _draw_hand,
    "HeadCT": _draw_head,
}


def _uniform(generator: np.random.Generator, *ranges: tuple[float, float]) -> list[float]:
    """One number from each range, as Python floats, which do not promote float32 pixels."""
    low, high = np.array(ranges).T
    return (low + (high - low) * generator.random(len(ranges))).tolist()


def _pose(generator: np.random.Generator) -> Frame:
    """Undo a random rotation (up to 17°), shift, zoom, stretch and bend of the body."""
    right, down, tangent = _uniform(generator, (-0.2, 0.2), (-0.2, 0.2), (-0.15, 0.15))
    shrink, stretch, bend = _uniform(generator, (0.95, 1.4), (-0.12, 0.12), (-0.1, 0.1))
    step = (np.arange(SIDE, dtype=np.float32) + 0.5) * (2 / SIDE) - 1
    cosine, sine = _rotation(tangent)
    x, y = step[None, :] - right, step[:, None] - down
    down_body = shrink * (1 - stretch) * (y * cosine - x * sine)
    return Frame(shrink * (1 + stretch) * (x * cosine + y * sine) + bend * down_body**2, down_body)


def _paint(generator: np.random.Generator, image: Plane, frame: Frame, organs: tuple[Organ, ...]) -> Plane:
    """Paint organs over `image`, each with small random changes of position, size, tilt and level."""
    table = np.array(organs)
    spread = np.empty((len(table), 6))
    spread[:, 0] = table[:, 7]
    spread[:, 1:5] = JITTER
    spread[:, 3:5] = np.minimum(JITTER, 0.15 * table[:, 3:5])  # so that small organs keep their shape
    spread[:, 5] = 0.06
    shapes = table[:, :6] + spread * generator.uniform(-1, 1, spread.shape)
    is_drawn = generator.random(len(table)) < table[:, 6]
    for level, *shape in shapes[is_drawn].tolist():
        image = image + _ellipse(frame, *shape) * (level - image)
    return image


def _ellipse(frame: Frame, x: float, y: float, width: float, height: float, tilt: float) -> Plane:
    """The share of each pixel inside the ellipse with this center, half axes and tilt, 0 to 1."""
    cosine, sine = _rotation(tilt)
    # To first order, (1 - r²) / 2 is the distance to the edge as a share of the half axis.
    sharpness = min(width, height) / (2 * EDGE_WIDTH)
    across, down = math.sqrt(sharpness) / width, math.sqrt(sharpness) / height
    u = frame.x * (cosine * across) + frame.y * (sine * across) - (x * cosine + y * sine) * across
    v = frame.y * (cosine * down) - frame.x * (sine * down) - (y * cosine - x * sine) * down
    # An ellipse thinner than an edge never covers a whole pixel.
    return (sharpness + min(sharpness, 0.5) - u * u - v * v).clip(0, 1)


def _along(frame: Frame, x: float, y: float, end_x: float, end_y: float) -> tuple[Plane, Plane]:
    """For each pixel the nearest point of a line segment, as a share of its length, and the distance to it."""
    right, down = end_x - x, end_y - y
    along = ((frame.x - x) * right + (frame.y - y) * down) * (1 / (right * right + down * down))
    along = along.clip(0, 1)
    return along, np.sqrt((frame.x - x - along * right) ** 2 + (frame.y - y - along * down) ** 2)


def _phalanges(along: Plane, distance: Plane, count: int, width: float, gap: float) -> Plane:
    """The bones of a finger, 0 to 1; `width` is half a bone's (body units), a smaller `gap` widens the joints."""
    bone = along * (0.65 + 0.35 * along) * count  # bones shorten towards the tip
    from_middle = np.abs(2 * (bone - np.floor(bone)) - 1)
    shaft = width * (0.6 + 0.4 * from_middle**2)  # wider at the ends
    return _edge(shaft - distance) * np.minimum((1 - from_middle) * gap, 1)


def _table(generator: np.random.Generator, frame: Frame, width: float, depth: float) -> Plane:
    """The scanner's table, seen from its end, in three of four scans: the lower part of an oval with these half axes."""
    outer = _ellipse(frame, 0.0, 0.0, width, depth, 0.0)
    inner = _ellipse(frame, 0.0, 0.0, width - 0.05, depth - 0.05, 0.0)
    is_drawn = generator.random() < 0.75
    return 0.5 * is_drawn * (outer - inner) * _edge(frame.y - 0.2)


def _develop(generator: np.random.Generator, film: Plane) -> Plane:
    """The film, or at random its negative."""
    return 0.9 - film if generator.random() < NEGATIVE_SHARE else film


def _expose(generator: np.random.Generator, frame: Frame, image: Plane) -> UInt8[np.ndarray, "height width"]:
    """Apply uneven brightness, gamma, window, noise and blur, and round to 8 bits."""
    right, down, gamma = _uniform(generator, (-0.15, 0.15), (-0.15, 0.15), (-0.35, 0.35))
    low, width, noise, blur = _uniform(generator, (-0.25, 0.2), (0.7, 1.5), (0.01, 0.06), (0.0, 0.5))
    image = image * (1 + right * frame.x + down * frame.y)
    image = (image + gamma * image * (1 - image) - low) * (1 / width)
    image = image + noise * generator.standard_normal(image.shape, dtype=np.float32)
    return np.rint(_blur(image, blur).clip(0, 1) * 255).astype(np.uint8)


def _blur(image: Plane, weight: float) -> Plane:
    """Replace the share `weight` (0 to 0.5) of each pixel by the mean of its neighbors, along each axis; edges repeat."""
    for _ in range(2):
        wide = np.concatenate([image[:1], image, image[-1:]])
        image = (image * (1 - weight) + (wide[:-2] + wide[2:]) * (0.5 * weight)).T
    return image


def _edge(depth: Plane) -> Plane:
    """The share of each pixel inside a shape, from its depth below the shape's edge in body units."""
    return (depth * (1 / EDGE_WIDTH) + 0.5).clip(0, 1)


def _rotation(tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has this tangent."""
    square = tangent * tangent
    return (1 - square) / (1 + square), 2 * tangent / (1 + square)
