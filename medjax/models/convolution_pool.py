"""A layer of convolution, max-pool and ReLU that trains fast on a CPU, too.

XLA:CPU runs the backward pass of a convolution 8 to 13 times slower inside a loop than outside it
(https://github.com/jax-ml/jax/issues/12868) and does not skip the zeros of a pooled gradient, so programs for this
machine's CPU call kernels of our own. All others get the operations of JAX in `cpu_kernels.twins`, and so do tangents
(forward mode) and second derivatives. The choice is made when a program is lowered (`cpu_kernels.primitives`).
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jaxtyping import Array

from medjax.errors import refuse
from medjax.models.cpu_kernels import twins
from medjax.models.cpu_kernels.primitives import linear_call, native_call
from medjax.models.cpu_kernels.twins import Activations, Bias, Images, Kernel, Positions


def convolution_pool(images: Images, kernel: Kernel, bias: Bias) -> Activations:
    """ReLU of bias and the maximum of each 2 by 2 window of a cross-correlation without padding, stride 1.

    An odd last row or column of outputs is left out. Pooling comes before bias and ReLU: both only grow with their
    input, so the values are the same for a quarter of the work. The gradient goes to the first of equal maxima, as in
    `nn.max_pool`, whose own gradient does not compile on a GPU under XLA's determinism flag. Arrays of several dtypes
    are promoted to one.
    """
    images, kernel, bias = nn.dtypes.promote_dtype(images, kernel, bias)
    return _forward(images, kernel, bias)[0]


@jax.custom_jvp
def _forward(images: Images, kernel: Kernel, bias: Bias) -> tuple[Activations, Positions]:
    return native_call(_native_forward, twins.forward, images, kernel, bias)


def _forward_jvp(
    primals: Sequence[Array], tangents: Sequence[Any]
) -> tuple[tuple[Activations, Positions], Any]:
    images, kernel, _ = primals
    image_tangents, *weight_tangents = tangents
    activations, positions = _forward(*primals)
    residuals = images, kernel, positions
    # One term for the images and one for the weights: a gradient that nobody asks for is neither compiled nor run.
    terms = []
    if not isinstance(image_tangents, SymbolicZero):
        terms.append(linear_call(twins.image_tangent, _image_gradient, residuals, [image_tangents]))
    if not all(isinstance(tangent, SymbolicZero) for tangent in weight_tangents):
        weight_tangents = [
            jnp.zeros(tangent.shape, tangent.dtype) if isinstance(tangent, SymbolicZero) else tangent
            for tangent in weight_tangents
        ]
        terms.append(linear_call(twins.kernel_tangent, _kernel_gradient, residuals, weight_tangents))
    tangent = functools.reduce(operator.add, terms)
    return (activations, positions), (tangent, zero_from_primal(positions, symbolic_zeros=True))


_forward.defjvp(_forward_jvp, symbolic_zeros=True)


def _image_gradient(*arrays: Array) -> Images:
    return native_call(_native_image_gradient, twins.image_gradient, *arrays)


def _kernel_gradient(*arrays: Array) -> tuple[Kernel, Bias]:
    return native_call(_native_kernel_gradient, twins.kernel_gradient, *arrays)


# `native` imports llvmlite, which is needed, and may be missing, only where kernels are compiled.


def _native_forward(*arrays: Array) -> tuple[Activations, Positions]:
    from medjax.models.cpu_kernels import native

    return native.forward(*arrays)


def _native_image_gradient(*arrays: Array) -> Images:
    from medjax.models.cpu_kernels import native

    return native.image_gradient(*arrays)


def _native_kernel_gradient(*arrays: Array) -> tuple[Kernel, Bias]:
    from medjax.models.cpu_kernels import native

    return native.kernel_gradient(*arrays)


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
