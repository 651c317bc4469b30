"""Which strategy `auto` takes for the folds of a cross-validation."""

import jax

from medjax.models.cnn import CNN
from medjax.models.network import Network, abstract_variables
from medjax.training.strategies import StrategyName, count_cores

# Of a step of all folds, and of a network. Measured in TF32 with 224,518 parameters: at 125,440 pixels stacked folds took 0.49
# of the time of looped ones, at 2,007,040 1.08. Not measured in float32, the default.
_MOST_PIXELS = 2**19
_MOST_PARAMETERS = 2**19


def choose_strategy(num_folds: int, *, is_small: bool = False) -> StrategyName:
    """The strategy of `auto`: `devices` on several devices, `threads` on a CPU's cores, `vmap` on a GPU for a network that is
    small (see `is_small_for_gpu`); else, and for a single fold, `loop`.

    `loop` and `threads` give the same bits for a fold alone. By the table of benchmarks/FOLDS.md (`python -m benchmarks.folds`)
    `threads` is the faster of the two on a CPU.
    """
    if num_folds == 1:
        return "loop"
    if len(jax.devices()) > 1:
        return "devices"
    if jax.default_backend() == "gpu" and is_small:
        return "vmap"
    return "threads" if jax.default_backend() == "cpu" and count_cores() > 1 else "loop"


def is_small_for_gpu(network: Network, image_shape: tuple[int, ...], batch_size: int, num_folds: int) -> bool:
    """Whether a step of one fold keeps a GPU so little busy that all folds at once take less time than one after the other.

    That was measured of the built-in network alone, of five folds on an H200 (experiments/LOG.md, "A GPU used as asked for").
    Stacked kernels become grouped convolutions, which are slow in XLA for wide layers
    (https://github.com/jax-ml/jax/issues/26568), so other networks are not stacked.
    """
    if not isinstance(network.module, CNN):
        return False
    parameters = abstract_variables(network, image_shape).parameters
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    num_pixels = num_folds * batch_size * image_shape[0] * image_shape[1]
    return num_parameters <= _MOST_PARAMETERS and num_pixels <= _MOST_PIXELS
