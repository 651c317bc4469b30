"""What the commands do, a call each: the only place that wires data, training, evaluation and report together."""

import dataclasses
import functools
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax import checkpoint, metrics, run
from medjax.config import PRESETS, DataConfig, TrainConfig, from_dict, require_valid
from medjax.data import fingerprint, load, load_images, split_dataset
from medjax.errors import DivergedError, refuse
from medjax.evaluation import score
from medjax.models import CNN, summarize_model
from medjax.progress import Display
from medjax.records import Dataset, Images, Names, Predictions, Probabilities, Split
from medjax.report import wording
from medjax.report.page import write_page
from medjax.training.augment import random_affine
from medjax.training.fit import EpochInfo, FoldState, Progress, fit, predict
from medjax.training.learner import Augment, Learner, make_learner
from medjax.training.optimizers import make_adam
from medjax.training.strategies import select_fold


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, from its directory alone."""

    directory: Path
    record: dict[str, Any]  # run.json

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: what the run scored when it was trained."""
        return run.read_json(self.directory / "metrics.json")

    def evaluate(
        self, source: str | Path | None = None, *, part: str = "test", is_quiet: bool = True
    ) -> dict[str, Any]:
        """Restore the model and score one part of the run's own data, wherever they lie now.

        Returns {part: metrics}, the block of metrics.json. Data that differ from the run's raise RefusedError.
        """
        config = from_dict(self.record["config"])
        source = self._own_data() if source is None else source
        with Display(is_quiet=is_quiet) as display:
            dataset = _load(source, config, display)
        _require_same_data(dataset, self.record)
        indices = getattr(split_dataset(dataset, config.fractions, seed=config.seed), part)
        learner, parameters = self._restore()
        predictions = predict(learner, parameters, dataset.images, dataset.labels, indices)
        return {part: score(predictions, dataset.class_names)}

    def predict(self, paths: Sequence[str | Path]) -> tuple[Names, Probabilities]:
        """Ids and class probabilities of unlabelled images: files, folders and archives."""
        if not paths:
            raise refuse("IMAGES", "none given", "name image files, folders or archives")
        config = from_dict(self.record["config"])
        images, ids = load_images(paths, self._like_trained(config))
        learner, parameters = self._restore()
        nothing = np.zeros(len(images), np.int32)
        predictions = predict(learner, parameters, images, nothing, np.arange(len(images)))
        return ids, predictions.probabilities

    def _own_data(self) -> str:
        path = self.record["data"]["path"]
        if not self.record["data"]["is_synthetic"] and not Path(path).exists():
            raise refuse(
                path, "is not there any more", f"name its place: medjax evaluate {self.directory} DATA"
            )
        return path

    def _restore(self) -> tuple[Learner, Any]:
        config = from_dict(self.record["config"])
        saved = checkpoint.list_checkpoints(_checkpoint_dir(self.directory))
        if not saved:
            raise refuse(str(_checkpoint_dir(self.directory)), "holds no finished checkpoint", "train again")
        learner = _make_learner(config, len(self.record["class_names"]))
        return learner, checkpoint.load_checkpoint(saved[-1], "parameters")

    def _like_trained(self, config: TrainConfig) -> DataConfig:
        """The run's way of reading images, with its colour made explicit."""
        is_gray = self.record["data"]["image_shape"][-1] == 1
        return dataclasses.replace(config.data, color="gray" if is_gray else "rgb")


def load_run(directory: str | Path) -> Run:
    """Open a run directory; RefusedError where it is none."""
    return Run(Path(directory), run.read_json(Path(directory) / "run.json"))


def train(
    source: str | Path,
    config: TrainConfig = PRESETS["report"],
    *,
    run_dir: str | Path | None = None,
    command: str = "medjax.train",
    is_quiet: bool = True,
) -> Run:
    """Train on a holdout of `source`, score it, and leave everything in a new run directory.

    `source` is a folder, an archive, an .npz or "phantom"; `command` is recorded in run.json. Raises RefusedError
    before anything is written, and DivergedError with the last finite checkpoint kept.
    """
    require_valid(config)
    started = time.perf_counter()
    with Display(is_quiet=is_quiet) as display:
        dataset = _load(source, config, display)
        split = split_dataset(dataset, config.fractions, seed=config.seed)
        learner = _make_learner(config, len(dataset.class_names))
        record = _describe(source, dataset, split, config, command)
        directory = run.create_run_dir(
            None if run_dir is None else Path(run_dir), f"{_file_name(dataset.name)}-{config.preset}"
        )
        run.write_json(directory / "run.json", record)
        seconds = {"load": time.perf_counter() - started}
        images, labels = jax.device_put((dataset.images, dataset.labels))
        try:
            parameters, history, fit_seconds = _fit(
                directory, (images, labels), split, learner, config, display
            )
            display.start("scoring")
            before = time.perf_counter()
            predictions = {
                part: predict(learner, parameters, images, labels, getattr(split, part))
                for part in reversed(Split._fields)
            }
            scores = {part: score(predictions[part], dataset.class_names) for part in predictions}
            seconds |= fit_seconds | {"evaluate": time.perf_counter() - before}
        except (DivergedError, KeyboardInterrupt, SystemExit) as error:
            status = "diverged" if isinstance(error, DivergedError) else "interrupted"
            run.write_json(directory / "run.json", {**record, "status": status})
            display.say(f"stopped; what was finished is kept in {directory}")
            raise
        seconds["total"] = time.perf_counter() - started
        run.write_json(directory / "metrics.json", {**scores, "seconds": seconds})
        run.write_predictions(
            directory / "predictions.csv", dataset, {part: predictions[part] for part in ("val", "test")}
        )
        record["status"] = "done"
        run.write_json(directory / "run.json", record)
        display.start("drawing")
        _illustrate(directory, dataset, split, predictions["test"], history, config)
    return Run(directory, record)


def _load(source: str | Path, config: TrainConfig, display: Display) -> Dataset:
    display.start("reading")
    dataset = load(source, config.data, on_progress=display.advance)
    found = f"{dataset.name}: {len(dataset.labels):,} images of {len(dataset.class_names)} classes"
    display.say("; ".join([found, *wording.loading(dataset.counts._asdict())]))
    return dataset


def _make_learner(config: TrainConfig, num_classes: int) -> Learner:
    return make_learner(
        CNN(num_classes, dropout=config.dropout), make_adam(config.learning_rate), _make_augment(config)
    )


def _make_augment(config: TrainConfig) -> Augment | None:
    if not config.augment:
        return None
    return functools.partial(random_affine, **dataclasses.asdict(config.augmentation))


def _fit(
    directory: Path,
    arrays: tuple[jax.Array, jax.Array],
    split: Split,
    learner: Learner,
    config: TrainConfig,
    display: Display,
) -> tuple[Any, list[dict[str, Any]], dict[str, float]]:
    """Train; keep history.csv and the checkpoints up to date; return parameters, history and seconds."""
    writer = checkpoint.CheckpointWriter(_checkpoint_dir(directory))
    history: list[dict[str, Any]] = []
    started = epoch_started = time.perf_counter()
    compiled: list[float] = []
    display.start("compiling")

    def show(progress: Progress) -> None:
        if not compiled:
            compiled.append(time.perf_counter() - started)
            display.start("training")
        done = (progress.epoch * progress.num_steps + progress.step) * config.batch_size
        total = config.epochs * progress.num_steps * config.batch_size
        display.advance(done, total, _describe_progress(progress, config.epochs))

    steps = fit(
        learner,
        *arrays,
        [split],
        seed=config.seed,
        num_epochs=config.epochs,
        batch_size=config.batch_size,
        on_progress=show,
    )
    try:
        for epoch, state, info in steps:
            parameters = _scored_parameters(state, config)
            if info.diverged.any():
                _stop_diverged(writer, epoch, state, parameters)
            now = time.perf_counter()
            history.append(_history_row(epoch, info, config, now - epoch_started))
            epoch_started = now
            run.write_history(directory / "history.csv", history)
            display.say(_describe_epoch(history[-1], config.epochs))
            writer.offer(epoch + 1, {"parameters": parameters, "state": select_fold(state, 0)})
    finally:
        writer.flush()
    seconds = {"compile": compiled[0], "train": time.perf_counter() - started - compiled[0]}
    return parameters, history, seconds


def _stop_diverged(
    writer: checkpoint.CheckpointWriter, epoch: int, state: FoldState, parameters: Any
) -> None:
    """Raise DivergedError; where no epoch ended well, the state before the bad step is what is kept."""
    if writer.is_empty:
        writer.offer(epoch, {"parameters": parameters, "state": select_fold(state, 0)})
    raise DivergedError(
        f"training diverged in epoch {epoch + 1}: the loss or its gradient is not finite; the last finite "
        "checkpoint is kept. Try a smaller --learning-rate"
    )


def _scored_parameters(state: FoldState, config: TrainConfig) -> Any:
    return select_fold(state.best.parameters if config.keep == "best" else state.learner.parameters, 0)


def _history_row(epoch: int, info: EpochInfo, config: TrainConfig, seconds: float) -> dict[str, Any]:
    train, val = select_fold(info.train, 0), select_fold(info.val, 0)
    return {
        "fold": 0,
        "epoch": epoch,
        "train_loss": float(metrics.mean_loss(train)),
        "train_accuracy": float(metrics.accuracy(train)),
        "val_loss": float(metrics.mean_loss(val)),
        "val_accuracy": float(metrics.accuracy(val)),
        "learning_rate": config.learning_rate,
        "seconds": round(seconds, 3),
    }


def _illustrate(
    directory: Path,
    dataset: Dataset,
    split: Split,
    predictions: Predictions,
    history: list[dict[str, Any]],
    config: TrainConfig,
) -> None:
    # Imported here: Matplotlib takes a second, and refusals, restores and predictions need not wait for it.
    from medjax.report.figures import draw_figures

    labels = dataset.labels[split.train]
    samples = split.train[[int(np.argmax(labels == label)) for label in range(len(dataset.class_names))]]
    twins = _make_twins(dataset.images[samples], config)
    draw_figures(directory / "figures", dataset, samples, twins, predictions, history)
    write_page(directory)


def _make_twins(originals: Images, config: TrainConfig, num_twins: int = 6) -> np.ndarray | None:
    """Random twins of images as training sees them (0 to 1), or None if it sees the images unchanged."""
    augment = _make_augment(config)
    if augment is None:
        return None
    keys = jax.random.split(jax.random.key(config.seed), (len(originals), num_twins))
    twins = jax.jit(jax.vmap(jax.vmap(augment, in_axes=(0, None))))(keys, originals.astype(np.float32) / 255)
    return np.asarray(twins)


def _describe_progress(progress: Progress, num_epochs: int) -> str:
    train = select_fold(progress.train, 0)
    return (
        f"epoch {progress.epoch + 1}/{num_epochs} loss {metrics.mean_loss(train):.4f} "
        f"accuracy {metrics.accuracy(train):.4f}"
    )


def _describe_epoch(row: dict[str, Any], num_epochs: int) -> str:
    return (
        f"epoch {row['epoch'] + 1}/{num_epochs}: train loss {row['train_loss']:.4f} accuracy "
        f"{row['train_accuracy']:.4f}, val loss {row['val_loss']:.4f} accuracy {row['val_accuracy']:.4f}, "
        f"{row['seconds']:.1f} s"
    )


def _describe(
    source: str | Path, dataset: Dataset, split: Split, config: TrainConfig, command: str
) -> dict[str, Any]:
    """run.json as it stands before training."""
    device = jax.devices()[0]
    environment = run.describe_environment(f"{device.platform} ({device.device_kind})")
    layers = summarize_model(CNN(len(dataset.class_names)), dataset.images.shape[1:])
    return {
        "medjax": environment["versions"]["medjax"],
        "command": command,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": dataclasses.asdict(config),
        "seed": config.seed,
        "strategy": "loop",
        "resumptions": [],
        "class_names": list(dataset.class_names),
        "data": run.describe_data(source, dataset, split),
        "model": {
            "name": "cnn",
            "parameters": sum(layer.parameters for layer in layers),
            "layers": [layer._asdict() for layer in layers],
        },
        **environment,
    }


def _require_same_data(dataset: Dataset, record: dict[str, Any]) -> None:
    if fingerprint(dataset) != record["data"]["fingerprint"]:
        raise refuse(
            dataset.name,
            f"is not the data of this run: {len(dataset.labels)} images with another fingerprint than its "
            f"{record['data']['n']}",
            f"give the {record['data']['name']} it was trained on",
        )


def _checkpoint_dir(directory: Path) -> Path:
    return directory / "checkpoints" / "fold_00"


def _file_name(name: str) -> str:
    """`name` with what a file system may not take replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"
