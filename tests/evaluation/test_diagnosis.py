"""Each rule finds what it is for, and stays silent about ordinary good runs."""

import dataclasses
import math
import re

import numpy as np
import pytest

from medjax.config import PRESETS, SETTINGS, StoppingConfig
from medjax.evaluation.diagnosis import diagnose
from medjax.evaluation.intervals import wilson_interval
from tests.configs import plain

CONFIG = plain()
EPOCHS = np.arange(20)
LEARNT = 0.9 * np.exp(-EPOCHS / 2) + 0.02  # of both losses, in a run that went well
FLAT = np.full(20, 1.38)


def make_block(accuracy, *, n=400, balanced=None, share=0.4, gain=None, loss=0.2):
    """Scores of three classes, the largest of which has `share` of the images."""
    difference = accuracy - share
    return {
        "n": n,
        "errors": round(n * (1 - accuracy)),
        "accuracy": accuracy,
        "accuracy_ci95": list(wilson_interval(accuracy * n, n)),
        "leading_ci95": "accuracy_ci95",
        "balanced_accuracy": accuracy if balanced is None else balanced,
        "largest_class": {
            "name": "nevus",
            "share": share,
            "gain_ci95": [difference - 0.05, difference + 0.05] if gain is None else gain,
        },
        "per_class": {"nevus": {"n": 160}, "melanoma": {"n": 120}, "keratosis": {"n": 120}},
        "loss": loss,
    }


def make_rows(train_loss, val_loss=None, *, fold=0, accuracy=0.9):
    val_loss = np.full(len(train_loss), math.nan) if val_loss is None else val_loss
    return [
        {"fold": fold, "epoch": epoch, "train_loss": train, "train_accuracy": accuracy, "val_loss": val}
        for epoch, (train, val) in enumerate(zip(train_loss, val_loss, strict=True))
    ]


def holdout(train=0.98, val=0.95, **changes):
    """metrics.json of a run with these accuracies."""
    return {"train": make_block(train), "val": make_block(val), "test": make_block(val), **changes}


def crossval(*accuracies, pooled=None, loss=0.2):
    folds = [
        {"fold": fold, "n": 80, "errors": round(80 * (1 - accuracy)), "accuracy": accuracy, "loss": loss}
        for fold, accuracy in enumerate(accuracies)
    ]
    mean = float(np.mean(accuracies))
    return {"folds": folds, "pooled": make_block(mean) if pooled is None else pooled}


def names(*arguments):
    return [finding.name for finding in diagnose(*arguments)]


def test_a_good_run_has_no_finding():
    assert diagnose(holdout(), make_rows(LEARNT, LEARNT), CONFIG) == []
    assert diagnose(crossval(0.95, 0.93, 0.96), _of_three(LEARNT, 0.95), CONFIG) == []


def _of_three(train_loss, accuracy, val_loss=None):
    return [row for fold in range(3) for row in make_rows(train_loss, val_loss, fold=fold, accuracy=accuracy)]


def test_at_the_share_of_the_largest_class_nothing_was_learnt():
    metrics = holdout(train=0.41, val=0.4)
    metrics["train"]["balanced_accuracy"] = 0.34
    (finding,) = diagnose(metrics, make_rows(FLAT, FLAT), CONFIG)
    assert finding.name == "not learnt"
    assert finding.sentence == (
        "The network has not learnt its training images: it gets 41.0 % of them right, and always predicting nevus would "
        "get 40.0 %; its training loss does not fall any more."
    )
    assert "--learning-rate, such as 0.0001" in finding.remedy


def test_what_has_not_learnt_yet_is_to_go_on():
    metrics = holdout(train=0.38, val=0.4)
    slow = np.linspace(1.38, 1.1, 20)
    finding = diagnose(metrics, make_rows(slow, FLAT), CONFIG)[0]
    assert finding.name == "not learnt"
    assert "does not fall" not in finding.sentence
    assert "--resume --epochs 60" in finding.remedy
    # Of a single epoch nobody knows whether the loss falls.
    assert "does not fall" not in diagnose(metrics, make_rows(slow[:1], FLAT[:1]), CONFIG)[0].sentence


def test_accuracy_that_was_given_up_for_rare_classes_is_learning():
    metrics = holdout()
    metrics["train"] = make_block(0.8, balanced=0.79, share=0.9)
    assert names(metrics, make_rows(LEARNT, LEARNT), CONFIG) == []


def test_few_images_that_are_all_right_are_learnt():
    # The interval of the gain over the largest class includes 0, as only 2 of 40 images are of others.
    metrics = holdout()
    metrics["train"] = make_block(1.0, n=40, share=0.95, gain=[-0.04, 0.16])
    assert names(metrics, make_rows(LEARNT, LEARNT), CONFIG) == []


def test_folds_that_have_not_learnt_are_counted():
    rows = [*make_rows(FLAT, fold=0, accuracy=0.36), *_of_three(LEARNT, 0.6)[20:]]
    metrics = crossval(0.4, 0.55, 0.55, pooled=make_block(0.5, balanced=0.4))
    (finding,) = diagnose(metrics, rows, CONFIG)
    assert finding.sentence.startswith(
        "In 1 of 3 folds the network has not learnt its training images: it gets 36.0 %"
    )
    # By one image more than that share, which chance may have made, nothing is shown.
    metrics = crossval(0.42, 0.55, 0.55, pooled=make_block(0.5, balanced=0.4))
    assert names(metrics, rows, CONFIG) == ["not learnt"]
    # Hard images, drawn more often, are answered worse in training than those out of fold.
    metrics = crossval(0.55, 0.55, 0.55, pooled=make_block(0.55, balanced=0.4))
    assert names(metrics, rows, CONFIG) == []


def test_a_validation_loss_that_falls_at_the_end_was_stopped_too_soon():
    falling = np.linspace(1.2, 0.4, 20)
    (finding,) = diagnose(holdout(), make_rows(falling, falling), CONFIG)
    assert finding.name == "stopped too soon"
    assert (
        "the validation loss was still falling at the end, from 0.653 to 0.4 over the last 7 epochs"
        in finding.sentence
    )
    assert finding.remedy == "go on with the same command and --run RUN --resume --epochs 60"


def test_a_fall_that_the_learning_rate_makes_by_itself_is_none():
    slight = np.linspace(0.5, 0.4, 20)
    annealed = dataclasses.replace(PRESETS["fast"], epochs=20)
    assert names(holdout(), make_rows(slight, slight), CONFIG) == ["stopped too soon"]
    assert names(holdout(), make_rows(slight, slight), annealed) == []
    steep = np.linspace(1.2, 0.4, 20)
    # The training images are answered better already, as they are at the end of any long training.
    assert names(holdout(), make_rows(steep, steep), annealed) == []
    metrics = holdout()
    metrics["train"]["loss"] = 0.38
    (finding,) = diagnose(metrics, make_rows(steep, steep), annealed)
    # A schedule that depends on the number of epochs cannot be continued.
    assert finding.remedy == "train anew with --epochs 60"


@pytest.mark.parametrize(
    "loss",
    [
        np.linspace(0.09, 0.03, 20),  # little is left to gain
        np.concatenate([np.linspace(1.2, 0.3, 14), [0.5, 0.48, 0.46, 0.44, 0.42, 0.4]]),  # was lower before
        np.linspace(1.06, 1.04, 20),  # hard images
        0.4 + 0.03 * (-1.0) ** np.arange(20),  # to and fro
    ],
)
def test_an_end_that_does_not_fall_is_not_too_soon(loss):
    assert names(holdout(), make_rows(LEARNT, loss), CONFIG) == []


def test_patience_that_is_too_short_is_told():
    config = dataclasses.replace(CONFIG, early_stopping=True, stopping=StoppingConfig(stop_patience=2))
    falling = np.linspace(1.2, 0.8, 10)
    (finding,) = diagnose(holdout(), make_rows(falling, falling), config)
    assert finding.remedy == "train anew with --stop-patience 5"


def test_folds_without_validation_images_are_judged_by_their_training_loss():
    falling = np.linspace(1.2, 0.5, 20)
    (finding,) = diagnose(crossval(0.8, 0.8, 0.8, loss=0.45), _of_three(falling, 0.8), CONFIG)
    assert (
        "In 3 of 3 folds training stopped too soon: the training loss was still falling" in finding.sentence
    )
    # Out of fold it is worse already: what it still learns is of its training images alone.
    assert names(crossval(0.8, 0.8, 0.8, loss=0.6), _of_three(falling, 0.8), CONFIG) == []
    assert names(crossval(0.8, 0.8, 0.8, loss=0.04), _of_three(falling, 0.8), CONFIG) == []


def test_a_validation_loss_that_has_left_its_minimum_is_over_fitted():
    risen = np.concatenate([np.linspace(1.2, 0.5, 8), np.linspace(0.55, 1.4, 12)])
    rows = make_rows(np.linspace(1.2, 0.05, 20), risen)
    (finding,) = diagnose(holdout(), rows, CONFIG)
    assert finding.sentence == (
        "The network is over-fitted: its validation loss was lowest after epoch 8 (0.5) and rose to 1.4 by the end, which "
        "is what was scored."
    )
    assert "--keep best" in finding.remedy
    assert names(holdout(), rows, dataclasses.replace(CONFIG, keep="best")) == []
    # A training whose own loss rises is unstable, not over-fitted.
    assert names(holdout(), make_rows(risen, risen), CONFIG) == []


def test_a_jump_of_the_last_epoch_is_not_over_fitting():
    jump = np.concatenate([LEARNT[:-1], [0.9]])
    assert names(holdout(), make_rows(LEARNT, jump), CONFIG) == []
    # Nor is a loss that is tiny all the time.
    tiny = np.concatenate([np.full(8, 0.001), np.full(12, 0.01)])
    assert names(holdout(), make_rows(LEARNT, tiny), CONFIG) == []


def test_training_images_that_are_answered_far_better_are_learnt_by_heart():
    (finding,) = diagnose(holdout(train=0.999, val=0.8), make_rows(LEARNT, LEARNT), CONFIG)
    assert finding.sentence == (
        "The network is over-fitted: it gets 99.9 % of its training images right, and 80.0 % of those that it was not "
        "trained on."
    )
    assert "--augment" not in finding.remedy  # it is used already
    config = dataclasses.replace(CONFIG, augment=False, dropout=0.0)
    (finding,) = diagnose(holdout(train=0.999, val=0.8), make_rows(LEARNT, LEARNT), config)
    assert finding.remedy == (
        "train anew with --augment or --dropout 0.5 or --optimizer adamw --weight-decay 0.05, or on more images"
    )


def test_a_gap_that_chance_may_have_made_is_none():
    metrics = holdout(train=0.999)
    metrics["val"] = make_block(0.9, n=20)  # an interval of 70 to 97 %
    assert names(metrics, make_rows(LEARNT, LEARNT), CONFIG) == []
    metrics["val"] = {**make_block(0.8), "accuracy_ci95": None}  # a single group
    assert names(metrics, make_rows(LEARNT, LEARNT), CONFIG) == []


def test_of_folds_more_than_half_must_be_over_fitted():
    two = [
        *make_rows(LEARNT, fold=0, accuracy=0.999),
        *_of_three(LEARNT, 0.999)[20:40],
        *make_rows(LEARNT, fold=2, accuracy=0.82),
    ]
    (finding,) = diagnose(crossval(0.8, 0.8, 0.8), two, CONFIG)
    assert finding.sentence.startswith("In 2 of 3 folds the network is over-fitted")
    half = [*make_rows(LEARNT, fold=0, accuracy=0.999), *make_rows(LEARNT, fold=1, accuracy=0.82)]
    assert names(crossval(0.8, 0.8), half, CONFIG) == []
    one = [*make_rows(LEARNT, fold=0, accuracy=0.999), *_of_three(LEARNT, 0.82)[20:]]
    assert names(crossval(0.8, 0.8, 0.8), one, CONFIG) == []


def test_below_a_baseline_only_where_the_interval_says_so():
    def baselines(difference, interval):
        gain = {"difference": difference, "ci95": interval}
        return {"best": "logistic_regression", "gain_over_best_baseline": gain}

    rows = make_rows(LEARNT, LEARNT)
    (finding,) = diagnose(holdout(baselines=baselines(-0.064, [-0.101, -0.027])), rows, CONFIG)
    assert finding.sentence == (
        "The network does worse than a simple model, logistic regression: its accuracy is 6.4 percentage points lower "
        "(95 % interval 2.7 to 10.1)."
    )
    assert finding.remedy.startswith("use that model, or go on")
    for harmless in (baselines(-0.02, [-0.05, 0.01]), baselines(-0.3, None), None):
        assert names(holdout(baselines=harmless), rows, CONFIG) == []
    # What else was found comes first, in the remedy too.
    falling = np.linspace(1.2, 0.4, 20)
    below = holdout(baselines=baselines(-0.064, [-0.101, -0.027]))
    first, second = diagnose(below, make_rows(falling, falling), CONFIG)
    assert (first.name, second.name) == ("stopped too soon", "below a baseline")
    assert second.remedy == "use that model, or change first what is said above"


def test_nothing_is_said_where_scores_are_withheld():
    assert diagnose({"folds": [], "pooled": None}, make_rows(FLAT), CONFIG) == []
    assert diagnose(holdout(train=0.3), [], CONFIG) == []


def test_every_option_that_is_named_exists():
    falling = np.linspace(1.2, 0.4, 20)
    below = {
        "best": "majority",
        "gain_over_best_baseline": {"difference": -0.3, "ci95": [-0.4, -0.2]},
    }
    bare = dataclasses.replace(CONFIG, augment=False, dropout=0.0)
    stopping = dataclasses.replace(CONFIG, early_stopping=True)
    found = [
        *diagnose(holdout(train=0.3, baselines=below), make_rows(FLAT, FLAT), CONFIG),
        *diagnose(holdout(train=0.3), make_rows(falling, falling), PRESETS["fast"]),
        *diagnose(holdout(baselines=below), make_rows(LEARNT, LEARNT), CONFIG),
        *diagnose(holdout(), make_rows(falling[:9], falling[:9]), stopping),
        *diagnose(holdout(train=0.999, val=0.8), make_rows(LEARNT, LEARNT), bare),
        *diagnose(holdout(), make_rows(falling, np.linspace(0.4, 2, 20)), CONFIG),
    ]
    options = {option for each in found for option in re.findall(r"--([a-z-]+)", each.remedy)}
    assert len(options) > 8
    assert {option.replace("-", "_") for option in options} <= {*SETTINGS, "run", "resume"}
