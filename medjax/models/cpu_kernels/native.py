"""The functions of `twins` with the same names, computed by kernels: for float32 in a program for a CPU.

Each imports llvmlite only when it is called: where no kernels are used, it may be missing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from medjax.models.cpu_kernels import ffi_handler
from medjax.models.cpu_kernels.twins import Activations, Bias, Images, Kernel, Positions

# With fewer channels, a row of the kernel is too short for vectors along it.
_MIN_DEEP_CHANNELS = 4
# Measured at 32 channels only, where Winograd takes three fifths of the time.
_MIN_WINOGRAD_CHANNELS = 8


def forward(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Positions]:
    """Activations, and the position of the maximum of each window: the first of equal ones."""
    from medjax.models.cpu_kernels import ffi_call, forward_kernels

    batch, *sides, _ = images.shape
    kernel_sides, features = kernel.shape[:2], kernel.shape[3]
    halves = [(side - kernel_side + 1) // 2 for side, kernel_side in zip(sides, kernel_sides, strict=True)]
    results = [jax.ShapeDtypeStruct((batch, *halves, features), dtype) for dtype in (jnp.float32, jnp.int8)]
    if kernel_sides == (3, 3) and kernel.shape[2] >= _MIN_WINOGRAD_CHANNELS:
        shared = [transform_kernel(kernel), bias]
        activations, positions = ffi_call.call_kernel(
            forward_kernels.winograd_forward, results, [images], shared, is_thorough=True
        )
    else:
        activations, positions = ffi_call.call_kernel(
            forward_kernels.pooled_forward, results, [images], [kernel, bias], is_thorough=True
        )
    return activations, positions


def transform_kernel(kernel: Float32[Array, "3 3 channel feature"]) -> Float32[Array, "4 4 channel feature"]:
    """The kernel as `winograd_forward` takes it."""
    for axis in range(2):
        first, second, third = jnp.moveaxis(kernel, axis, 0)
        outer, middle = (first + third) / 2, second / 2
        kernel = jnp.stack([first, outer + middle, outer - middle, third], axis)
    return kernel


def image_gradient(images: Images, kernel: Kernel, positions: Positions, gradient: Activations) -> Images:
    """Gradient of the images."""
    from medjax.models.cpu_kernels import ffi_call, gradient_kernels

    features_first = kernel.transpose(3, 0, 1, 2)
    results = [jax.ShapeDtypeStruct(images.shape, jnp.float32)]
    [image_gradient] = ffi_call.call_kernel(
        gradient_kernels.image_gradient, results, [positions, gradient], [features_first], is_thorough=True
    )
    return image_gradient


def kernel_gradient(
    images: Images, kernel: Kernel, positions: Positions, gradient: Activations
) -> tuple[Kernel, Bias]:
    """Gradients of the kernel and the bias."""
    from medjax.models.cpu_kernels import calls, ffi_call, gradient_kernels

    num_tasks, (*rest, features) = ffi_handler.num_tasks(len(images)), kernel.shape
    is_deep = kernel.shape[2] >= _MIN_DEEP_CHANNELS
    shape = (features, *rest) if is_deep else kernel.shape
    results = [jax.ShapeDtypeStruct((num_tasks, *sides), jnp.float32) for sides in (shape, (features,))]
    emit = gradient_kernels.kernel_gradient if is_deep else gradient_kernels.shallow_kernel_gradient
    kernel_gradients, bias_gradients = ffi_call.call_kernel(
        emit, results, [images, positions, gradient], is_thorough=True
    )
    kernel_gradient = calls.sum_first(kernel_gradients)
    return kernel_gradient.transpose(1, 2, 3, 0) if is_deep else kernel_gradient, bias_gradients.sum(0)
