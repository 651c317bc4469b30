"""What went wrong in a training, from its history and its scores, and what to change.

Each rule has a threshold that ordinary good runs stay clear of: a finding is a reason to train again. Whether a difference
is more than chance is asked of the intervals that the scores already have.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.config import BUILT_IN, TrainConfig
from medjax.evaluation.intervals import wilson_interval
from medjax.evaluation.learning_curves import Losses, fall_at_end, has_left_minimum, is_finite, last_third

SHARE_OF_THE_WAY = 0.25
"""Not learnt: the balanced accuracy is less than this far on the way from chance to 1. A training that balances the classes
may give up accuracy, but not this."""
LEAST_FALL = 0.05
"""Stopped too soon: the loss fell by this share of itself over the last third of the epochs …"""
LEAST_ANNEALED_FALL = 0.10
"""… or by this one where the learning rate falls towards 0, which by itself lowers the loss at the end; and then the loss on
images that were held out is still …"""
MOST_ABOVE = 0.1
"""… at most this share above that on training images: what is still learnt is not yet of these alone …"""
LITTLE_LOSS = 0.05
"""… and the loss on images that were held out is above this, in nats: below there is little left to gain."""
LEAST_RISE = 0.2
"""Over-fitted: over the last third of the epochs the validation loss never came nearer to its minimum than this share of it
…"""
LEAST_GAP = 0.05
"""… or the accuracy on training images is this far above the interval of the accuracy on images that were held out."""


class Finding(NamedTuple):
    """Something to change."""

    name: str  # not learnt, stopped too soon, over-fitted, below a baseline
    sentence: str
    remedy: str  # names options that exist


class _Fold(NamedTuple):
    """One training, with what is known of it."""

    train_loss: Losses  # as it was trained
    val_loss: Losses  # nan without a validation part
    # On training images, as it is scored; of a cross-validation as it was trained in the last epoch.
    final_loss: float
    train_accuracy: float
    held_out: Mapping[str, Any]  # n, accuracy, loss on validation images; of a fold out of fold
    interval: Sequence[float] | None  # of that accuracy, of all folds together; None: one group


def diagnose(
    metrics: Mapping[str, Any], history: Sequence[Mapping[str, Any]], training: TrainConfig
) -> list[Finding]:
    """What to change, most fundamental first, from metrics.json and the rows of history.csv; [] where nothing was found.

    Of a cross-validation each finding says in how many of its folds it was made: one that has not learnt is enough, of the
    others more than half of them. Where a fold diverged there is no finding: its score is withheld.
    """
    scored = metrics.get("pooled") or metrics.get("test")
    if not scored or not history:
        return []
    folds = _folds(metrics, scored, history)
    if "micro" in scored:  # of several labels only the losses speak: exact matches depend on the thresholds
        folds = [fold._replace(interval=None) for fold in folds]
    not_learnt = None if "micro" in scored else _not_learnt(metrics, scored, folds, training)
    too_soon = _stopped_too_soon(folds, training)
    over_fitted = None if not_learnt or too_soon else _over_fitted(folds, training)
    found = [finding for finding in (not_learnt, too_soon, over_fitted) if finding is not None]
    below = _below_baseline(metrics.get("baselines"), training, is_first=not found)
    return found if below is None else [*found, below]


def _folds(
    metrics: Mapping[str, Any], scored: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> list[_Fold]:
    """The trainings in the order of their numbers."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for row in history:
        rows.setdefault(int(row["fold"]), []).append(row)
    scores = {fold["fold"]: fold for fold in metrics.get("folds", [])}
    folds = []
    for number, each in sorted(rows.items()):
        train_loss, val_loss = (
            np.array([row[name] for row in each], float) for name in ("train_loss", "val_loss")
        )
        if number in scores:
            held_out, block = scores[number], scored
            final = each[-1]["train_loss"], each[-1]["train_accuracy"]
        else:
            held_out = block = metrics["val"]
            final = metrics["train"]["loss"], metrics["train"]["accuracy"]
        loss, accuracy = (math.inf if value is None else float(value) for value in final)
        interval = block[block["leading_ci95"]]
        folds.append(_Fold(train_loss, val_loss, loss, accuracy, held_out, interval))
    return folds


def _not_learnt(
    metrics: Mapping[str, Any], scored: Mapping[str, Any], folds: Sequence[_Fold], training: TrainConfig
) -> Finding | None:
    """The accuracy on training images is not shown to be above the share of the largest class among them.

    Of a fold, only what it got right while it was trained is known, on images that were changed, so that it must be no
    better on its out-of-fold images either; both by Wilson's interval at the number of these.
    """
    block = metrics.get("train") or scored
    chance = 1 / max(sum(row["n"] > 0 for row in block["per_class"].values()), 1)
    if block["balanced_accuracy"] >= chance + SHARE_OF_THE_WAY * (1 - chance):
        return None
    largest = block["largest_class"]
    if "train" in metrics:
        gain = largest["gain_ci95"]
        low = block["accuracy"] - largest["share"] if gain is None else gain[0]
        failed = folds if low <= 0 else []
    else:
        failed = [fold for fold in folds if not _is_above(fold, largest["share"])]
    if not failed:
        return None
    accuracy = float(np.mean([fold.train_accuracy for fold in failed]))
    sentence = (
        f"{_where(failed, folds)}the network has not learnt its training images: it gets {_percent(accuracy)} of them right, "
        f"and always predicting {largest['name']} would get {_percent(largest['share'])}"
    )
    rate = training.learning_rate
    if all(len(fold.train_loss) < 2 or fall_at_end(fold.train_loss) >= LEAST_FALL for fold in failed):
        remedy = f"{_longer(training)}, or train anew with a larger --learning-rate (it is {rate:g})"
        return _finding("not learnt", f"{sentence}.", remedy)
    remedy = (
        f"train anew with a smaller --learning-rate, such as {rate / 10:g}; if that changes nothing, look whether the "
        "labels are right"
    )
    return _finding("not learnt", f"{sentence}; its training loss does not fall any more.", remedy)


def _is_above(fold: _Fold, share: float) -> bool:
    """Whether a fold of a cross-validation is shown to be more often right than this share, on any images."""
    n, best = fold.held_out["n"], max(fold.train_accuracy, fold.held_out["accuracy"])
    return wilson_interval(best * n, n)[0] > share


def _stopped_too_soon(folds: Sequence[_Fold], training: TrainConfig) -> Finding | None:
    """The validation loss was still falling at the end; without a validation part, the training loss."""
    is_constant = training.schedule == "constant"
    has_val = all(is_finite(fold.val_loss) for fold in folds)
    falling = []
    for fold in folds:
        curve = fold.val_loss if has_val else fold.train_loss
        held_out = curve[-1] if has_val else fold.held_out["loss"]
        if held_out is None or held_out <= LITTLE_LOSS or curve.argmin() < len(curve) - 2:
            continue
        may_be_alone = not (is_constant and has_val)
        if may_be_alone and held_out > (1 + MOST_ABOVE) * fold.final_loss:
            continue
        if fall_at_end(curve) >= (LEAST_FALL if is_constant else LEAST_ANNEALED_FALL):
            falling.append((fold, curve))
    if not _is_common(falling, folds):
        return None
    epochs = last_third(falling[0][1])
    before, after = (float(np.mean([curve[at] for _, curve in falling])) for at in (-epochs, -1))
    sentence = (
        f"{_where(falling, folds)}training stopped too soon: the {'validation' if has_val else 'training'} loss was still "
        f"falling at the end, from {before:.3g} to {after:.3g} over the last {epochs} epochs."
    )
    is_early = training.early_stopping and all(len(curve) < training.epochs for _, curve in falling)
    patience = 2 * training.stopping.stop_patience + 1
    remedy = f"train anew with --stop-patience {patience}" if is_early else _longer(training)
    return _finding("stopped too soon", sentence, remedy)


def _over_fitted(folds: Sequence[_Fold], training: TrainConfig) -> Finding | None:
    """The validation loss has left its minimum while training went on, or training images are answered far better."""
    risen = [fold for fold in folds if training.keep == "last" and _has_risen(fold)]
    if _is_common(risen, folds):
        lowest = [int(fold.val_loss.argmin()) for fold in risen]
        before = float(np.mean([fold.val_loss.min() for fold in risen]))
        after = float(np.mean([fold.val_loss[-1] for fold in risen]))
        after_epoch = f"after epoch {round(float(np.median(lowest))) + 1}"
        sentence = (
            f"{_where(risen, folds)}the network is over-fitted: its validation loss was lowest {after_epoch} ({before:.3g}) "
            f"and rose to {after:.3g} by the end, which is what was scored."
        )
        return _finding(
            "over-fitted", sentence, "train anew with --keep best, which scores the epoch where it is lowest"
        )
    apart = [
        fold
        for fold in folds
        if fold.interval is not None and fold.train_accuracy - fold.interval[1] > LEAST_GAP
    ]
    if not _is_common(apart, folds):
        return None
    train, held_out = (
        float(np.mean(each))
        for each in zip(*((fold.train_accuracy, fold.held_out["accuracy"]) for fold in apart), strict=True)
    )
    sentence = (
        f"{_where(apart, folds)}the network is over-fitted: it gets {_percent(train)} of its training images right, and "
        f"{_percent(held_out)} of those that it was not trained on."
    )
    return _finding("over-fitted", sentence, _restrained(training))


def _below_baseline(
    baselines: Mapping[str, Any] | None, training: TrainConfig, *, is_first: bool
) -> Finding | None:
    """The interval of the paired difference to the best baseline lies below 0."""
    if baselines is None:
        return None
    gain, best = baselines["gain_over_best_baseline"], baselines["best"].replace("_", " ")
    if gain["ci95"] is None or gain["ci95"][1] >= 0:
        return None
    low, high = (f"{100 * abs(bound):.1f}" for bound in reversed(gain["ci95"]))
    # The mean AUC is of several labels an image.
    measure = "mean AUC" if gain.get("measure") == "auc" else "accuracy"
    sentence = (
        f"The network does worse than a simple model, {best}: its {measure} is {-100 * gain['difference']:.1f} percentage "
        f"points lower (95 % interval {low} to {high})."
    )
    size = training.data.size_words
    others = f"{_longer(training)}, or train anew with larger images (--image-size, it is {size}) or another --model"
    remedy = f"use that model, or {others if is_first else 'change first what is said above'}"
    return _finding("below a baseline", sentence, remedy)


def _has_risen(fold: _Fold) -> bool:
    """Whether the validation loss left its minimum, and is not as small as one that well may."""
    return has_left_minimum(fold.val_loss, fold.train_loss, LEAST_RISE) and bool(
        fold.val_loss[-1] > LITTLE_LOSS
    )


def _is_common(found: Sequence[Any], folds: Sequence[_Fold]) -> bool:
    return 2 * len(found) > len(folds)


def _where(found: Sequence[Any], folds: Sequence[_Fold]) -> str:
    """The beginning of a sentence, in which folds it holds; of a single training nothing."""
    return f"In {len(found)} of {len(folds)} folds " if len(folds) > 1 else ""


def _longer(training: TrainConfig) -> str:
    """How to train longer."""
    epochs = min(3 * training.epochs, 9999)
    if training.schedule == "constant":
        return f"go on with the same command and --run RUN --resume --epochs {epochs}"
    return f"train anew with --epochs {epochs}"


def _restrained(training: TrainConfig) -> str:
    """What holds a network back from learning its images by heart, of what this training did not use."""
    means = [
        ("--augment", not training.augment),
        ("--dropout 0.5", training.model == BUILT_IN and training.dropout < 0.5),
        ("--optimizer adamw --weight-decay 0.05", training.weight_decay == 0),
    ]
    unused = [words for words, is_unused in means if is_unused]
    return f"train anew with {' or '.join(unused)}, or on more images" if unused else "train on more images"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _finding(name: str, sentence: str, remedy: str) -> Finding:
    return Finding(name, sentence[:1].upper() + sentence[1:], remedy)
