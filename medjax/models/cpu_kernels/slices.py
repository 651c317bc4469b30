"""Kernel of slices of an array along one axis, as the gradients of concatenated features.

XLA makes a slice part of what computes the array. In a DenseNet, each layer's gradient would compute those of all later
layers again; a kernel has it computed once.
"""

import functools
from collections.abc import Sequence

from llvmlite import ir

from medjax.models.cpu_kernels.borders import copy_run
from medjax.models.cpu_kernels.emitter import Buffer, Emitter
from medjax.models.cpu_kernels.ffi_call import Kernel


@functools.cache
def make_slice(start: int) -> Kernel:
    """The kernel `arrays -> outputs`, both batch, row, number: of each row the numbers from `start` on."""

    def slice_rows(
        emit: Emitter, buffers: Sequence[Buffer], first: ir.Value, stop: ir.Value, task: ir.Value
    ) -> None:
        arrays, outputs = buffers
        _, num_rows, length = outputs.shape
        with emit.for_range(first, stop) as image, emit.for_range(0, num_rows) as row:
            copy_run(emit, emit.part(arrays, image, row, start), emit.part(outputs, image, row, 0), length)

    slice_rows.__name__ = f"slice_{start}"
    return slice_rows
