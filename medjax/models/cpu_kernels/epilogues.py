"""What is computed of each output of a convolution before it is written: batch norm by fixed statistics, shortcut, ReLU.

One after the other, each would go through memory again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from llvmlite import ir

from medjax.models.cpu_kernels.emitter import Buffer, Emitter
from medjax.models.cpu_kernels.expressions import Term, describe, emit_term


class Epilogue(NamedTuple):
    """A term of the output, ("array", 0), of other arrays of its shape, and of rows along its features."""

    term: Term = ("array", 0)
    num_arrays: int = 0  # others
    num_rows: int = 0

    def __str__(self) -> str:
        """Its part of a kernel's name."""
        return "" if self == Epilogue() else f"_then_{describe(self.term)}"


def split_operands(
    epilogue: Epilogue, buffers: Sequence[Buffer]
) -> tuple[Sequence[Buffer], Buffer, Sequence[Buffer]]:
    """Arrays, weights and rows, as kernels take them."""
    arrays, (weights, *rows) = buffers[: epilogue.num_arrays], buffers[epilogue.num_arrays :]
    return arrays, weights, rows


class Operands(NamedTuple):
    """What an epilogue reads beside the output."""

    arrays: Sequence[Buffer]  # indexed as the outputs are
    rows: Sequence[Buffer]  # by the last of these indices, or the last two where features are in groups

    def finish(
        self, emit: Emitter, epilogue: Epilogue, value: ir.Value, place: Sequence[ir.Value]
    ) -> ir.Value:
        """Emit the computation of a vector that is to be written at `place`."""
        lanes = value.type.count
        others = [emit.load_within(array, *place, lanes=lanes) for array in self.arrays]
        rows = [emit.load_within(row, *place[-len(row.shape) :], lanes=lanes) for row in self.rows]
        return emit_term(emit, epilogue.term, [value, *others], rows)
