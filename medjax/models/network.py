"""What training needs of a model: two pure functions, `init` and `apply`, over explicit `Variables`."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Key, PyTree

from medjax.errors import counted, refuse

# The argument that tells a module whether it is trained, by the names in use, and whether True means training.
TRAINING_FLAGS = {
    "is_training": True,
    "training": True,
    "train": True,
    "is_train": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}
Apply = Callable[..., tuple[Float[Array, "batch class"], PyTree]]
_RETURN_LOGITS = "return logits [batch, class], and nothing else, from the network"


class Variables(NamedTuple):
    """All numbers of a network."""

    parameters: PyTree[Float32[Array, "..."]]  # what the optimizer changes
    state: PyTree  # what the network itself changes while it is trained (batch statistics); an empty dict for none


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: its functions cannot be compared
class Network:
    """Two pure functions. Leaves of `Variables` are arrays; no key lives among them."""

    # (key, shape of one image) -> Variables
    init: Callable[[Key[Array, ""], tuple[int, ...]], Variables]
    # (variables, images in 0 to 1, *, is_training, key) -> (logits [batch, class], the state after this call)
    apply: Callable[..., tuple[Float[Array, "batch class"], PyTree]]
    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # for people, and to compare runs
    module: Any = None  # the Linen module, which can list its layers; None for other networks


@functools.lru_cache(maxsize=32)
def abstract_variables(network: Network, image_shape: tuple[int, ...]) -> Variables:
    """Shapes and dtypes of a network's variables. Computes nothing."""
    return jax.eval_shape(lambda key: network.init(key, image_shape), jax.random.key(0))


@functools.lru_cache(maxsize=32)
def count_classes(network: Network, image_shape: tuple[int, ...]) -> int:
    """The number of logits for one image of (height, width, channel). Computes nothing."""

    def apply(variables: Variables, key: Key[Array, ""]) -> Array:
        images = jnp.zeros((1, *image_shape), jnp.float32)
        return network.apply(variables, images, is_training=False, key=key)[0]

    return jax.eval_shape(apply, abstract_variables(network, image_shape), jax.random.key(0)).shape[-1]


def find_flag(call: Callable[..., Any]) -> str | None:
    """The argument that tells a module whether it is trained, if it has one."""
    names = parameter_names(call)
    return next((flag for flag in TRAINING_FLAGS if flag in names), None)


def parameter_names(function: Callable[..., Any]) -> set[str]:
    """Names of a function's arguments; empty where it does not tell."""
    return set(arguments_of(function))


def arguments_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """A function's arguments by name, of a class those of `__init__`, of a `functools.partial` those that are left."""
    if isinstance(function, functools.partial):
        left = {
            name: each for name, each in arguments_of(function.func).items() if name not in function.keywords
        }
        return dict(list(left.items())[len(function.args) :])
    is_class = isinstance(function, type)
    try:
        # A metaclass, as NNX has one, hides the arguments of a class.
        found = inspect.signature(getattr(function, "__init__") if is_class else function).parameters  # noqa: B009
    except (TypeError, ValueError):  # some built-in callables have no signature
        return {}
    # Of a class the first argument is the instance, whatever its name.
    return dict(list(found.items())[1:] if is_class else found)


def require_logits(name: str, logits: Any, images: Array) -> Float[Array, "batch class"]:
    """Raise RefusedError unless a network has returned one row of logits for each image."""
    shape = getattr(logits, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(images):
        got = f"an array of shape {shape}" if shape is not None else f"a {type(logits).__name__}"
        raise refuse(f"network {name}", f"returned {got} for {counted(len(images), 'image')}", _RETURN_LOGITS)
    return logits


def require_same_state(name: str, before: PyTree, after: PyTree) -> PyTree:
    """The state after a call, which must have the structure, shapes and dtypes that it had before.

    Floats may have another precision, as statistics of activations in bfloat16 do: they get that which they had.
    """

    def outline(tree: PyTree) -> tuple[Any, list[Any]]:
        # Lists, because trees of a user's own types need not compare by their leaves.
        leaves, structure = jax.tree.flatten(tree)
        kinds = [jnp.result_type(leaf) for leaf in leaves]
        return structure, [
            (jnp.shape(leaf), "float" if jnp.issubdtype(kind, jnp.floating) else kind)
            for leaf, kind in zip(leaves, kinds, strict=True)
        ]

    if outline(before) != outline(after):
        raise refuse(
            f"network {name}",
            "its state has other shapes or dtypes after a training step than before",
            "keep the state's shapes; sow what grows into the collection intermediates",
        )

    def has_changed(old: Any, new: Any) -> bool:
        return jnp.result_type(old) != jnp.result_type(new)

    def as_before(old: Any, new: Any) -> Any:
        return jnp.asarray(new, jnp.result_type(old)) if has_changed(old, new) else new

    if not any(map(has_changed, jax.tree.leaves(before), jax.tree.leaves(after))):
        return after
    return jax.tree.map(as_before, before, after)


def in_bfloat16(apply: Apply) -> Apply:
    """`apply` of a `Network` with parameters and images rounded to bfloat16, in which modules without a dtype then compute.

    What a module computes in a dtype of its own, or together with float32 arrays of its own, stays in that. The state stays
    as it is, and the gradients of float32 parameters are float32.
    """

    def round_one(leaf: Array) -> Array:
        return leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf

    @functools.wraps(apply)
    def rounded(
        variables: Variables, images: Array, *, is_training: bool, key: Key[Array, ""] | None
    ) -> tuple[Array, PyTree]:
        parameters = jax.tree.map(round_one, variables.parameters)
        return apply(
            Variables(parameters, variables.state), round_one(images), is_training=is_training, key=key
        )

    return rounded


def make_variables(name: str, parameters: PyTree, state: PyTree) -> Variables:
    """Variables of arrays, with parameters as float32: updates smaller than a bfloat16 step would be lost.

    Numbers become arrays without weak types: those would change in the first step, and every program be compiled twice.
    Raises RefusedError for parameters that are not floats, as they have no gradient.
    """

    def convert(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(leaf.dtype)

    def convert_parameter(leaf: Any) -> Array:
        is_number = isinstance(leaf, int | float | complex) or hasattr(leaf, "dtype")
        if not is_number or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            kind = leaf.dtype if hasattr(leaf, "dtype") else type(leaf).__name__
            remedy = (
                "keep it in the state or out of the tree, as with eqx.filter(model, eqx.is_inexact_array)"
            )
            raise refuse(f"network {name}", f"has a parameter of type {kind}, which has no gradient", remedy)
        leaf = convert(leaf)
        return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return Variables(jax.tree.map(convert_parameter, parameters), jax.tree.map(convert, state))
