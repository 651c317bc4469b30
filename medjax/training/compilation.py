"""How the programs of training and prediction are compiled: the compiler's options, and fast convolutions on a CPU."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
from jax import lax

from medjax.config import ComputeName
from medjax.errors import refuse
from medjax.models.cpu_kernels import availability
from medjax.models.cpu_kernels.availability import KernelError
from medjax.models.cpu_kernels.compiling import compile_beside
from medjax.models.cpu_kernels.lowering import fast_convolutions, is_fast
from medjax.models.cpu_kernels.slow_layers import warn_of_slow_layers

_EMITTERS = "xla_cpu_use_fusion_emitters"  # jaxlib 0.12 knows it no more
# What becomes of the factors of products and convolutions of float32 arrays, as JAX names it. By default a GPU would round them
# to TF32, a TPU to bfloat16.
_PRECISIONS: dict[ComputeName, str] = {"f32": "float32", "tf32": "tensorfloat32", "bf16": "float32"}


class Numerics(NamedTuple):
    """How exactly programs compute. A CPU computes in float32 what is in float32, and the same bits each time."""

    compute: ComputeName = "f32"
    is_deterministic: bool = True


EXACT = Numerics()


def make_numerics(compute: str, *, deterministic: bool) -> Numerics:
    """Numerics by the settings of these names; RefusedError for an arithmetic that there is not."""
    if compute not in _PRECISIONS:
        raise refuse("compute", f"is {compute!r}", f"give one of {', '.join(_PRECISIONS)}")
    return Numerics(cast(ComputeName, compute), deterministic)


@runtime_checkable
class Lifted(Protocol):
    """A function of all folds, compiled at its first call, or ahead of it by `lower(...).compile()`."""

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        ...

    def lower(self, *arguments: Any) -> Any:
        """As `jax.jit(...).lower`; the arguments may be ShapeDtypeStructs."""
        ...


class _Compiled(NamedTuple):
    """A jitted function whose convolutions run fast on a CPU, and in a stated arithmetic elsewhere."""

    program: Any  # jitted
    compute: ComputeName

    def __call__(self, *arguments: Any) -> Any:
        # Calls too, because JAX compiles a program anew under another precision.
        with _precision_of(self.compute), fast_convolutions() as left:
            results = self.program(*arguments)
        self._warn(left, arguments)
        return results

    def lower(self, *arguments: Any) -> Any:
        with _precision_of(self.compute):
            try:
                with fast_convolutions() as left, compile_beside():
                    lowered = self.program.lower(*arguments)
            except KernelError as error:
                availability.give_up(str(error))
                jax.clear_caches()  # of what was lowered with kernels
                return self.program.lower(*arguments)
        self._warn(left, arguments)
        return lowered

    def _warn(self, left: set[Any], arguments: tuple[Any, ...]) -> None:
        if lax.conv_general_dilated_p in left:  # which is known only where the program was lowered just now
            warn_of_slow_layers(self.program.trace(*arguments).jaxpr, is_fast)


def compile_program(
    function: Callable[..., Any],
    *,
    donate: Sequence[int] = (),
    effort: int = 1,
    out_shardings: Any = None,
    numerics: Numerics = EXACT,
) -> Lifted:
    """As `jax.jit`, with the options of `compiler_options`; `donate` lists arguments whose memory a call may reuse.

    Products and convolutions of float32 arrays are in the arithmetic of `numerics`, whatever JAX's own setting is.
    """
    placed = {} if out_shardings is None else {"out_shardings": out_shardings}
    options = compiler_options(effort, is_deterministic=numerics.is_deterministic)
    program = jax.jit(function, donate_argnums=tuple(donate), compiler_options=options, **placed)
    return _Compiled(program, numerics.compute)


def _precision_of(compute: ComputeName) -> contextlib.AbstractContextManager[Any]:
    """JAX's precision while a program is traced and lowered; of a CPU, which has but one, it is left as it is."""
    if jax.default_backend() == "cpu":
        return contextlib.nullcontext()
    return jax.default_matmul_precision(_PRECISIONS[compute])


def compiler_options(effort: int = 1, *, is_deterministic: bool = True) -> dict[str, Any] | None:
    """Options of `jax.jit` for this machine; `effort` is the optimization level of a CPU's compiler, 0 to 3.

    On a CPU, at 1 the report's training step takes a fifth less time to compile than at XLA's own 3, and runs as fast, as
    its time goes into calls of compiled loops. At 0 it runs five times slower; such programs, which run once, are compiled
    by XLA's older fusion emitters too, in half the time. Dense layers of a batch's size are 1.5 to 3
    times as fast by Eigen as by YNNPACK, which XLA would take.

    A GPU sums in the order in which its threads arrive, and times algorithms to choose one, unless it is asked for
    deterministic operations: the same call then gives the same bits, as on a CPU.
    """
    options: dict[str, dict[str, Any]] = {
        "cpu": {
            "xla_backend_optimization_level": effort,
            "xla_cpu_experimental_ynn_fusion_type": "",
            **({_EMITTERS: False} if effort == 0 and _is_option(_EMITTERS) else {}),
        },
        "gpu": {"xla_gpu_deterministic_ops": True} if is_deterministic else {},
    }
    return options.get(jax.default_backend())


@functools.cache
def _is_option(name: str) -> bool:
    """Whether this compiler knows an option that can be false."""
    try:
        jax.jit(lambda: 0).lower().compile({name: False})
    except jax.errors.JaxRuntimeError:
        return False
    return True
