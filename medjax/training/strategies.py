"""How a function of one fold becomes a function of k folds. Per-fold arrays carry a leading axis of folds."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def select_fold(tree: Any, fold: int) -> Any:
    """One fold of a tree whose leaves have a leading axis of folds."""
    return jax.tree.map(lambda leaf: leaf[fold], tree)


def loop(one_fold: Callable[..., Any], *, num_shared: int, donate: Sequence[int] = ()) -> Callable[..., Any]:
    """Compile `one_fold` once and call it a fold at a time.

    The first `num_shared` arguments are the same for every fold; of the others each fold gets its slice. What a
    fold computes does not depend on the folds beside it. `donate` are the positions of arguments whose memory
    the call may reuse.
    """
    program = jax.jit(one_fold, donate_argnums=tuple(donate))

    def all_folds(*arguments: Any) -> Any:
        shared, per_fold = arguments[:num_shared], arguments[num_shared:]
        num_folds = jax.tree.leaves(per_fold)[0].shape[0]
        results = [program(*shared, *select_fold(per_fold, fold)) for fold in range(num_folds)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return all_folds
