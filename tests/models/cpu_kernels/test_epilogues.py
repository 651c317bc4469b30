"""Epilogues have names of their own, and kernels take their operands apart."""

from medjax.models.cpu_kernels.emitter import FLOAT, POINTER, Buffer
from medjax.models.cpu_kernels.epilogues import Epilogue, split_operands


def test_an_epilogue_is_part_of_a_kernels_name():
    term = ("maximum", ("add", ("array", 0), ("row", 0)), ("number", 0.0))
    assert str(Epilogue()) == ""
    assert str(Epilogue(term, 0, 1)) == "_then_maximum(add(array0,row0),number0.0)"


def test_operands_are_arrays_weights_and_rows():
    buffers = [Buffer(POINTER(None), (number,), FLOAT) for number in range(4)]
    arrays, weights, rows = split_operands(Epilogue(num_arrays=2, num_rows=1), buffers)
    assert (list(arrays), weights, list(rows)) == (buffers[:2], buffers[2], buffers[3:])
    arrays, weights, rows = split_operands(Epilogue(), buffers[:1])
    assert (list(arrays), weights, list(rows)) == ([], buffers[0], [])
