"""Convolution and pooling that are fast where they are lowered: one program serves cpu, cuda and tpu.

XLA:CPU runs the backward pass of a stock convolution 8 to 13 times slower inside a loop than outside it
(https://github.com/jax-ml/jax/issues/12868) and knows nothing of a pooled gradient's zeros, so on a CPU the layer is
loops of our own. Elsewhere convolutions stay the library's. `jax.lax.platform_dependent` chooses while lowering.
"""

from typing import NamedTuple

import jax
from flax import linen as nn
from jax import lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from medjax.errors import refuse
from medjax.models.cpu_kernels import native, twins
from medjax.models.cpu_kernels.twins import Activations, Bias, Images, Kernel, Positions


@jax.custom_vjp
def convolution_pool(images: Images, kernel: Kernel, bias: Bias) -> Activations:
    """ReLU of bias and the largest value of each 2 by 2 window of a cross-correlation without padding, stride 1.

    An odd last row or column is left out. Pooling goes before bias and ReLU, which gives the same values for a quarter
    of the work as both only grow with their input. The gradient goes to the first of equal values, as in `nn.max_pool`,
    whose own does not compile under XLA's determinism flag on a GPU.
    """
    return _forward(images, kernel, bias)[0]


def _forward(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Positions]:
    return lax.platform_dependent(images, kernel, bias, cpu=native.forward, default=twins.forward)


class _Residuals(NamedTuple):
    images: Images
    kernel: Kernel
    positions: Positions
    # The kernel again, or None where nobody needs the images' gradient: its code would be compiled, and never run.
    image_kernel: Kernel | None


def _forward_and_residuals(
    images: CustomVJPPrimal, kernel: CustomVJPPrimal, bias: CustomVJPPrimal
) -> tuple[Activations, _Residuals]:
    activations, positions = _forward(images.value, kernel.value, bias.value)
    image_kernel = kernel.value if images.perturbed else None
    return activations, _Residuals(images.value, kernel.value, positions, image_kernel)


def _backward(
    residuals: _Residuals, gradient: Activations | SymbolicZero
) -> tuple[Images | None, Kernel | None, Bias | None]:
    if isinstance(gradient, SymbolicZero):
        return None, None, None
    images, kernel, positions, image_kernel = residuals
    image_gradient = None
    if image_kernel is not None:
        image_gradient = lax.platform_dependent(
            images,
            image_kernel,
            positions,
            gradient,
            cpu=native.image_gradient,
            default=twins.image_gradient,
        )
    kernel_gradient, bias_gradient = lax.platform_dependent(
        images, kernel, positions, gradient, cpu=native.kernel_gradient, default=twins.kernel_gradient
    )
    return image_gradient, kernel_gradient, bias_gradient


convolution_pool.defvjp(_forward_and_residuals, _backward, symbolic_zeros=True)


class ConvolutionPool(nn.Module):
    """Convolution 3 by 3 without padding, ReLU, max-pool 2: image sides s become (s - 2) // 2."""

    features: int
    kernel_size: int = 3

    @nn.compact
    def __call__(self, images: Images) -> Activations:
        """Activations of `images`; sides below kernel_size + 1 raise RefusedError."""
        height, width, channels = images.shape[1:]
        if min(height, width) <= self.kernel_size:
            raise refuse(
                f"layer {'/'.join(self.path)}",
                f"its input of {height} by {width} is too small",
                f"it needs {self.kernel_size + 1} pixels a side: choose a larger --image-size or fewer --block-features",
            )
        kernel = self.param(
            "kernel",
            nn.initializers.glorot_uniform(),
            (self.kernel_size, self.kernel_size, channels, self.features),
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return convolution_pool(images, kernel, bias)
