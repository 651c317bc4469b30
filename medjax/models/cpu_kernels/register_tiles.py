"""What those kernels share that keep a tile of sums in registers while they run over products.

Every number that they load serves many multiplications.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from llvmlite import ir

from medjax.models.cpu_kernels.borders import Padding
from medjax.models.cpu_kernels.emitter import FLOAT, INT, Buffer, Emitter, Index, constant, register_lanes

# Of the 32 vector registers of AVX-512 and the 16 of AVX2; the others hold what is multiplied.
_MAX_SUMS = {16: 28, 8: 12}
# For so few features half a register of AVX-512 will do: a CPU multiplies no fewer numbers at a time so.
_NARROW = 8

Item = TypeVar("Item")


class Window(NamedTuple):
    """Where the taps of a convolution's kernel lie in an image, and which channels they meet."""

    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding = ((0, 0), (0, 0))
    groups: int = 1

    @property
    def is_padded(self) -> bool:
        """Whether the kernel reaches over the edge of an image, or does not reach all of it."""
        return self.padding != ((0, 0), (0, 0))

    def num_rows(self, outputs: int, taps: int) -> int:
        """Rows of an image that so many rows of outputs need, of a kernel with so many rows."""
        return (outputs - 1) * self.strides[0] + (taps - 1) * self.dilation[0] + 1

    def padded_width(self, width: int) -> int:
        """Columns of a padded image."""
        return width + sum(self.padding[1])

    def __str__(self) -> str:
        """Its part of a kernel's name."""
        numbers = (*self.strides, *self.dilation, *itertools.chain(*self.padding), self.groups)
        return "_".join(str(number).replace("-", "m") for number in numbers)


class FeatureBlock(NamedTuple):
    """Features of one group that are computed together."""

    group: ir.Value
    first: ir.Value  # in the group
    size: int

    def vectors(self, emit: Emitter) -> list[ir.Value]:
        """The first feature of each vector."""
        return [emit.sum(self.first, vector) for vector in range(0, self.size, block_lanes(self.size))]


def find_block(emit: Emitter, number: Index, blocks_of_group: int, size: int) -> FeatureBlock:
    """A block by its number; the blocks of a group follow one another."""
    number = emit.sum(number)
    first = emit.sum((emit.builder.urem(number, INT(blocks_of_group)), size))
    return FeatureBlock(emit.builder.udiv(number, INT(blocks_of_group)), first, size)


def by_group(buffer: Buffer, groups: int) -> Buffer:
    """The same array with its features as group, feature of the group."""
    *sides, features = buffer.shape
    return Buffer(buffer.pointer, (*sides, groups, features // groups), buffer.element_type)


def block_features(features: int) -> int:
    """Features that are computed together; their blocks cover `features` with least waste."""
    if features <= _NARROW:
        return _NARROW
    lanes = register_lanes()
    num_vectors = -(-features // lanes)
    return lanes * next(number for number in (2, 3, 1) if num_vectors % number == 0)


def block_lanes(block_size: int) -> int:
    """Features of a block of this size that a vector holds."""
    return min(block_size, register_lanes())


def max_rows(block_size: int) -> int:
    """Rows of sums, of `block_size` features each, that fit the registers."""
    return _MAX_SUMS[register_lanes()] // (block_size // block_lanes(block_size))


def even_parts(taps: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Parts of at most `most` taps, all of one size but the last, which is no longer."""
    size = -(-len(taps) // -(-len(taps) // most))
    return [taps[start : start + size] for start in range(0, len(taps), size)]


@contextlib.contextmanager
def tiles_of_job(emit: Emitter, job: ir.Value, num_jobs: int, num_tiles: int) -> Iterator[ir.Value]:
    """Emit a loop over the tiles of a job, which takes its share of them all; the `with` block emits its body."""
    share = -(-num_tiles // num_jobs)
    start = emit.sum((job, share))
    end = emit.minimum(emit.sum(start, share), num_tiles)
    with emit.for_range(start, end) as tile:
        yield tile


def zeros(emit: Emitter, num_rows: int, num_vectors: int, lanes: int | None = None) -> list[list[ir.Value]]:
    """Rows of vectors that sums start from, each a register's unless `lanes` are fewer."""
    zero = constant(FLOAT, 0.0, lanes or register_lanes())
    return [[emit.variable(zero) for _ in range(num_vectors)] for _ in range(num_rows)]


def add_products(
    emit: Emitter,
    sums: Sequence[Sequence[ir.Value]],
    offsets: Sequence[ir.Value],
    images: Buffer,
    factors: Sequence[ir.Value],
) -> None:
    """Add to each row of sums the pixel at its offset times the vectors `factors`."""
    flat = Buffer(images.pointer, (0,), FLOAT)
    for offset, totals in zip(offsets, sums, strict=True):
        pixel = emit.broadcast(emit.load(flat, offset), factors[0].type.count)
        for total, factor in zip(totals, factors, strict=True):
            emit.write(emit.add_product(emit.read(total), pixel, factor), total)
