"""The network of a run, restored from its checkpoints; they may be a stranger's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import refuse
from medjax.jobs.from_config import (
    Config,
    folds_of,
    is_built_in,
    make_fold_learner,
    make_network,
    training_of,
)
from medjax.jobs.resume import require_same_network, unchanging_facts
from medjax.jobs.run_record import describe_network
from medjax.memory import available_memory, in_words
from medjax.models.network import Network, Variables, abstract_variables
from medjax.models.starting import InputScaling, scale_input
from medjax.records import Split
from medjax.runs.checkpoint import load_checkpoint, require_facts
from medjax.runs.checkpoint_series import checkpoint_path, list_epochs
from medjax.runs.stored_arrays import count_bytes
from medjax.training.learner import Learner


def make_run_learner(
    directory: Path, record: Mapping[str, Any], model: Any, config: Config, splits: Sequence[Split]
) -> tuple[Network, Learner]:
    """The network and the learner of the run; RefusedError where they cannot be made again without the user's network."""
    training, recorded, is_own = training_of(config), record["model"], model is not None
    if not is_own and not (recorded["source"] == "medjax" and is_built_in(training)):
        raise refuse(
            str(directory),
            f"was trained with {recorded['name']}, a network that is none of medjax's",
            "name it again: --model package.module:name or file.py:name, in Python load_run(..., model=...)",
        )
    shape = tuple(record["data"]["image_shape"])
    network = make_network(training, model, record["class_names"], shape)
    found = describe_network(config, network, shape, is_own=is_own)
    if recorded["source"] == "medjax" and is_own:
        recorded = {**recorded, "name": network.name}
    require_same_network(directory, recorded, found)
    scaling = scaling_of(record["model"])
    if scaling is not None:
        network = scale_input(network, scaling)
    several_labels = record.get("several_labels", False)
    return network, make_fold_learner(training, network, splits, several_labels=several_labels)


def scaling_of(recorded: Mapping[str, Any]) -> InputScaling | None:
    """How the input of a run's network is scaled, from the block `model` of its run.json; None where it is not."""
    found = recorded.get("input")
    return None if found is None else InputScaling(tuple(found["mean"]), tuple(found["deviation"]))


def restore_variables(
    directory: Path, record: Mapping[str, Any], config: Config, network: Network, fold: int
) -> Variables:
    """The variables of one fold that are scored, of the newest epoch that all folds have saved."""
    parent = directory / "checkpoints"
    epochs = list_epochs(parent, folds_of(config))
    if not epochs:
        raise refuse(str(parent), "holds no finished checkpoint", "train again")
    like = abstract_variables(network, tuple(record["data"]["image_shape"]))
    _require_memory(directory, count_bytes(like))
    path = checkpoint_path(parent, fold, epochs[0])
    variables = load_checkpoint(path, "variables", like)
    require_facts(path, unchanging_facts(record), directory / "run.json")
    _require_finite(path, variables)
    return variables


def _require_memory(directory: Path, needed: int) -> None:
    """RefusedError where the variables alone would take more than half of the memory that is available."""
    free = available_memory()
    if free is not None and 2 * needed > free:
        reason = (
            f"its network takes {in_words(needed)}, more than half of the {in_words(free)} that are available"
        )
        raise refuse(str(directory), reason, "use a machine with more memory")


def _require_finite(path: Path, variables: Variables) -> None:
    """RefusedError, naming the first, where a number of a network is NaN or infinite: its answers mean nothing."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(keys, simple=True, separator="/")
            raise refuse(
                path,
                f"{name} holds numbers that are not finite",
                "train again, with a smaller --learning-rate",
            )
