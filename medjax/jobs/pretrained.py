"""`--pretrained`: a network that starts from published weights, from a file of them, or from a run of medjax."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.config import TrainConfig
from medjax.errors import counted, refuse
from medjax.jobs.external_data import find_trained
from medjax.jobs.from_config import folds_of, without_seed
from medjax.jobs.published_weights import HALF, IMAGENET, SCALINGS_BY_DIGEST, WEIGHTS, find_weights
from medjax.jobs.recorded_config import recorded_config
from medjax.jobs.restored_network import make_run_learner, restore_variables, scaling_of
from medjax.jobs.sharing import Same, once
from medjax.models.layers import SMALL_SIDE
from medjax.models.network import Network, Variables
from medjax.models.starting import InputScaling, missing_variables, scale_input, start_from
from medjax.models.transfer import WITH_STEMS, transfer
from medjax.models.weight_files.read import read_weight_file
from medjax.progress import Display
from medjax.records import Dataset, Split
from medjax.runs import directory as run_files

IMAGENET_STEM = "stem=imagenet"
"""In `model_set`, what `with_stem_of_weights` adds."""
_HEAD = "head"
_SCALINGS = {"none": None, "imagenet": IMAGENET, "half": HALF}


class Started(NamedTuple):
    """A network as it starts, and what run.json says of that under `model`."""

    network: Network
    pretrained: dict[str, Any] | None
    """`source`, `sha256` of the file or None for a run, `terms` or None, `notes`; None for a network that starts afresh."""
    input: dict[str, list[float]] | None
    """`mean` and `deviation`, one number a channel of color images; None where pixels are left as they are."""


class _Source(NamedTuple):
    """Where variables come from."""

    variables: Variables  # NaN where they are to be drawn
    description: dict[str, Any]
    scaling: InputScaling | None  # that they were trained with


def start_network(
    config: TrainConfig,
    network: Network,
    dataset: Dataset,
    splits: Sequence[Split],
    model: Any,
    display: Display,
) -> Started:
    """The network of a configuration with its `pretrained` and `input_scaling`; `model` is the user's own, if it is one.

    RefusedError where the weights are not those of the network, or of a run that was trained on images that are to be scored.
    """
    # Of runs that differ only in their seed one network, for which programs are compiled once.
    what = "start", without_seed(config), network, Same(dataset), Same(model)
    started = once(what, lambda: _start(config, network, dataset, model, display))
    if started.pretrained is not None:
        if _is_run(config):
            _require_unseen(Path(str(config.pretrained)), dataset, splits)
        terms = started.pretrained["terms"]
        source = f"starts from {started.pretrained['source']}{f': {terms}' if terms else ''}"
        for note in (source, *started.pretrained["notes"]):
            display.say(note)
    return started


def _start(config: TrainConfig, network: Network, dataset: Dataset, model: Any, display: Display) -> Started:
    source = None
    if config.pretrained is not None:
        source = _find(config, network, dataset, model, display)
        network = start_from(network, source.variables)
    scaling = source.scaling if source else None
    if config.input_scaling != "auto":
        scaling = _SCALINGS[config.input_scaling]
    description = None if source is None else source.description
    if scaling is None:
        return Started(network, description, None)
    as_json = {"mean": list(scaling.mean), "deviation": list(scaling.deviation)}
    return Started(scale_input(network, scaling), description, as_json)


def with_stem_of_weights(config: TrainConfig) -> TrainConfig:
    """The configuration with ImageNet's stem, for images of any size, where published weights are to be read.

    A kernel of 3 by 3 made of one of 7 by 7 would give the later layers what they have never seen. A stem that is given stays.
    """
    is_given = any(pair.startswith("stem=") for pair in config.model_set)
    if config.pretrained is None or config.model not in WITH_STEMS or is_given or _is_run(config):
        return config
    return dataclasses.replace(config, model_set=(*config.model_set, IMAGENET_STEM))


def _is_run(config: TrainConfig) -> bool:
    """Whether the weights are a run's."""
    name = str(config.pretrained)
    return name not in WEIGHTS and Path(name).is_dir()


def _find(config: TrainConfig, network: Network, dataset: Dataset, model: Any, display: Display) -> _Source:
    name = str(config.pretrained)
    shape = dataset.images.shape[1:]
    if _is_run(config):
        return _from_run(Path(name), network, dataset, model)
    known = WEIGHTS.get(name)
    if known is not None and known.model != config.model:
        raise refuse(
            f"--pretrained {name}",
            f"holds weights of {known.model}, not of {config.model}",
            f"--model {known.model}",
        )
    if known is None and not Path(name).suffix and not Path(name).exists():
        reason = "is no name of published weights, no file and no run"
        raise refuse(
            f"--pretrained {name}", reason, f"one of {', '.join(WEIGHTS)}, or the path of a file or run"
        )
    display.start("reading weights")
    path = Path(name) if known is None else find_weights(name)
    file = read_weight_file(path)
    known = known or WEIGHTS.get(SCALINGS_BY_DIGEST.get(file.sha256, ""))
    filled = transfer(missing_variables(network, shape), file.weights, model=config.model)
    guess = "pixels are scaled by ImageNet's mean and deviation, as most weights want: else --input-scaling"
    notes = [*filled.notes, *_stem_notes(config, shape)]
    description = {
        "source": name,
        "sha256": file.sha256,
        "terms": None if known is None else known.terms,
        "notes": [*notes, guess] if known is None and config.input_scaling == "auto" else notes,
    }
    return _Source(filled.variables, description, IMAGENET if known is None else known.scaling)


def _stem_notes(config: TrainConfig, image_shape: tuple[int, ...]) -> list[str]:
    """How small images meet the first convolution, where larger ones meet it as the weights were trained."""
    side = min(image_shape[:2])
    if side >= SMALL_SIDE:
        return []
    if IMAGENET_STEM in config.model_set:
        remedy = f"--image-size {SMALL_SIDE} or more may serve better"
        return [
            f"the stem is ImageNet's, as in the weights: {side} pixels a side are divided by 32; {remedy}"
        ]
    if config.model == "efficientnet_lite0":
        return [f"the stem has stride 1 for {side} pixels a side, its weights were trained with stride 2"]
    return []


def _from_run(directory: Path, network: Network, dataset: Dataset, model: Any) -> _Source:
    """The variables that another run scored; its last part, `head`, only where the classes are the same."""
    record = run_files.read_record(directory)
    config = recorded_config(directory, record)
    name = f"--pretrained {directory}"
    if len(folds_of(config)) != 1:
        reason = f"is a cross-validation with {len(folds_of(config))} networks"
        raise refuse(name, reason, "give a run of medjax train, or one of --only-fold")
    theirs, _ = make_run_learner(directory, record, model, config, [])
    variables = restore_variables(directory, record, config, theirs, folds_of(config)[0])
    ours = missing_variables(network, dataset.images.shape[1:])
    structures: list[Any] = [jax.tree.structure(tree) for tree in (variables, ours)]
    if structures[0] != structures[1]:
        raise refuse(
            name, f"its network {theirs.name} has other parts than {network.name}", "give the same --model"
        )
    is_same_task = tuple(record["class_names"]) == dataset.class_names
    fresh: list[str] = []

    def choose(keys: Any, found: Any, missing: Any) -> Any:
        path = jax.tree_util.keystr(keys[1:], simple=True, separator="/")
        is_head = _HEAD in path.split("/")[:2]  # of the state, the name of the collection comes first
        if is_head and not is_same_task:
            fresh.append(path)
            return missing
        if found.shape != missing.shape:
            reason = f"{path} has the shape {found.shape} there and {missing.shape} here"
            raise refuse(name, reason, "give the same --image-size, --color and settings of the network")
        return np.asarray(found)

    filled = jax.tree_util.tree_map_with_path(choose, variables, ours)
    if not is_same_task and not fresh:
        raise refuse(name, "has other classes, and its network no part named head", "name its last part head")
    notes = [f"{', '.join(fresh)} start fresh: the run has other classes"] if fresh else []
    digest = {"source": str(directory.absolute()), "sha256": None, "terms": None, "notes": notes}
    return _Source(Variables(*filled), digest, scaling_of(record["model"]))


def _require_unseen(directory: Path, dataset: Dataset, splits: Sequence[Split]) -> None:
    """RefusedError where images that are to be scored were trained on by the run that this one starts from."""
    seen = find_trained(directory, dataset)
    tests = np.unique(np.concatenate([split.test for split in splits]))
    count = int(seen[tests].sum())
    if count:
        reason = f"was trained on {counted(count, 'image')} of the {len(tests):,} that this run is scored on"
        name = f"--pretrained {directory}"
        raise refuse(name, reason, "start from a run of other images, or of the same parts: the same --seed")
