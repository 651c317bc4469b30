"""Kernels inside XLA's programs: every image once, whichever thread works on it."""

import concurrent.futures
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.cpu_kernels import emitter, ffi_call, ffi_handler, machine_code
from medjax.models.cpu_kernels.availability import KernelError
from medjax.models.cpu_kernels.emitter import FLOAT

COUNTS = [1, 3, 4, 5, 63, 64, 65, 128, 1000]


def scale(emit, buffers, first, stop, task):
    """Images, factors -> images times their factor plus the index of the task, and the task's number of images."""
    images, factors, scaled, counts = buffers
    length = images.shape[1]
    lanes = emitter.vector_lanes(length)
    task_index = emit.broadcast(emit.builder.sitofp(task, FLOAT), lanes)
    count = emit.variable(FLOAT(0.0))
    with emit.for_range(first, stop) as image:
        emit.write(emit.builder.fadd(emit.read(count), FLOAT(1.0)), count)
        factor = emit.broadcast(emit.load(factors, image), lanes)
        with emit.for_range(0, length // lanes) as vector:
            element = emit.sum((vector, lanes))
            value = emit.add_product(task_index, factor, emit.load(images, image, element, lanes=lanes))
            emit.store(value, scaled, image, element)
    emit.store(emit.read(count), counts, task)


def call_scale(images, factors):
    num_tasks = ffi_handler.num_tasks(len(images))
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (images.shape, (num_tasks,))]
    return ffi_call.call_kernel(scale, results, [images, factors])


def expected(images, factors):
    tasks = np.arange(len(images)) // ffi_handler.images_per_task(len(images))
    return images * factors[:, None] + tasks[:, None]


@pytest.mark.parametrize("length", [1, 6, 24, 32])
@pytest.mark.parametrize("count", COUNTS)
def test_each_image_is_worked_on_once(count, length):
    images = np.random.default_rng(count).normal(size=(count, length)).astype(np.float32)
    factors = np.arange(count, dtype=np.float32)
    scaled, counts = jax.jit(call_scale)(images, factors)
    np.testing.assert_allclose(scaled, expected(images, factors), rtol=1e-5, atol=1e-5)
    assert counts.sum() == count
    assert (counts > 0).all()


def test_programs_side_by_side_do_not_disturb_each_other():
    images = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)

    @jax.jit
    def often(images, factors):
        return jax.lax.fori_loop(0, 50, lambda _, total: total + call_scale(images, factors)[0], images)

    def call(number):
        factors = np.full(64, number, np.float32)
        np.testing.assert_allclose(
            often(images, factors), images + 50 * expected(images, factors), rtol=1e-4, atol=1e-3
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(40)))


@pytest.mark.parametrize("threads", ["1", "3"])
def test_results_are_the_same_bits_on_any_number_of_threads(threads):
    script = """
import jax, hashlib, numpy as np
from medjax.models.convolution_pool import convolution_pool
def loss(*arguments): return (convolution_pool(*arguments) ** 2).sum()
keys = jax.random.split(jax.random.key(0), 3)
arguments = [jax.random.normal(key, shape) for key, shape in zip(keys, ((37, 9, 9, 8), (3, 3, 8, 16), (16,)))]
print(hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in jax.jit(jax.grad(loss, (0, 1, 2)))(*arguments))).hexdigest())
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | extra, check=True, capture_output=True, text=True
        ).stdout
        for extra in ({}, {"PJRT_NPROC": threads})
    }
    assert len(digests) == 1


@pytest.mark.parametrize("version", [(0, 0), (0, 99), (1, 3)])
def test_xla_refuses_a_handler_for_an_interface_that_it_does_not_have(version, monkeypatch):
    monkeypatch.setattr(ffi_handler, "API_VERSION", version)
    # The function that all kernels share is written anew, under another name.
    monkeypatch.setattr(ffi_handler, "RUNNER", "medjax_run_{}_{}".format(*version))
    monkeypatch.setattr(ffi_call, "_load_runner", functools.cache(ffi_call._load_runner.__wrapped__))
    # Under a name of its own, so that it is compiled and registered here.
    monkeypatch.setattr(scale, "__name__", "scale_{}_{}".format(*version))
    images = np.ones((4, 8), np.float32)
    with pytest.raises(
        KernelError, match=r"medjax_scale_.* cannot be used .*API version \({}\.{}\)".format(*version)
    ):
        jax.jit(lambda *arrays: call_scale(*arrays))(images, np.ones(4, np.float32))


def test_errors_of_llvm_are_kernel_errors(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("LLVM IR parsing error")

    monkeypatch.setattr(machine_code, "load", fail)
    monkeypatch.setattr(scale, "__name__", "scale_unparsed")
    with pytest.raises(KernelError, match="LLVM IR parsing error"):
        jax.jit(call_scale)(np.ones((4, 8), np.float32), np.ones(4, np.float32))


def test_code_is_compiled_once_for_all_batch_sizes():
    before = len(ffi_call._loaded)
    for count in (1, 2, 30):
        jax.jit(call_scale)(np.ones((count, 40), np.float32), np.ones(count, np.float32))
    assert len(ffi_call._loaded) == before + 1
