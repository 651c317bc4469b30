"""Numbers as people should read them: no more digits than they are worth, never rounded to certainty."""

import math

import pytest

from medjax.report import wording


@pytest.mark.parametrize(
    ("n", "values", "shown"),
    [
        (8843, (0.99966, 0.99900, 0.99988), ("99.97", "99.90", "99.99")),
        (8843, (1 - 1 / 8843, 0.99936, 0.99998), ("99.989", "99.936", "99.998")),
        (8843, (1.0, 0.99957, 1.0), ("100.00", "99.96", "100.00")),
        (30, (29 / 30, 0.8333, 0.9941), ("96.7", "83.3", "99.4")),
        (30, (0.0, 0.0, 0.1135), ("0.0", "0.0", "11.3")),
    ],
)
def test_accuracy_has_the_decimals_it_is_worth(n, values, shown) -> None:
    scores = {"n": n, "accuracy": values[0], "accuracy_ci95": list(values[1:])}
    assert wording.percentages(scores) == shown


def test_shares_are_never_rounded_to_certainty() -> None:
    shown = [wording.share(value, 540) for value in (1.0, 0.0, 0.99996, 0.99994, 0.00004, None)]
    assert shown == ["1.0000", "0.0000", "> 0.9999", "0.9999", "< 0.0001", "undefined"]


def test_losses_have_three_digits() -> None:
    shown = [wording.number(value) for value in (0.0018, 1.791759, 0.0, 123.4, 3.2e-6, math.nan)]
    assert shown == ["0.00180", "1.79", "0.00", "123", "3.20 × 10⁻⁶", "undefined"]


def test_durations_are_in_the_units_they_need() -> None:
    shown = [wording.duration(seconds) for seconds in (0.844, 12.34, 59.96, 245.0, 3725.0, None)]
    assert shown == ["0.84 s", "12.3 s", "1 min 00 s", "4 min 05 s", "1 h 02 min", "undefined"]


def test_settings_of_later_versions_are_shown_too() -> None:
    config = {"augment": False, "new_thing": None, "augmentation": {"zoom": 1.0}, "room": {"is_warm": True}}
    assert wording.settings(config) == {
        "training": [("augment", "no"), ("new thing", "none")],
        "room": [("is warm", "yes")],
    }


@pytest.mark.parametrize("is_on", [True, False])
def test_groups_of_settings_are_shown_where_they_are_switched_on(is_on) -> None:
    switches = {"augment": is_on, "early_stopping": is_on, "reduce_on_plateau": is_on}
    groups = {"augmentation": {"zoom": 0.1}, "stopping": {"patience": 3}, "plateau": {"factor": 0.5}}
    training = {**switches, "data": {"cache": True}, **groups}
    shown = wording.settings({"folds": 5, "only_fold": None, "training": training})
    assert shown["cross-validation"] == [("folds", "5"), ("only fold", "none")]
    assert list(shown)[:3] == ["cross-validation", "training", "data"]
    assert list(shown)[3:] == (list(groups) if is_on else [])
    assert wording.settings(training) == {name: shown[name] for name in list(shown)[1:]}


def test_what_is_chosen_on_validation_images_is_named() -> None:
    training = {"keep": "last", "early_stopping": False, "reduce_on_plateau": False}
    assert wording.validation_decisions(training) == []
    training = {"keep": "best", "early_stopping": True, "reduce_on_plateau": False}
    assert wording.enumerated(wording.validation_decisions(training)) == (
        "which epoch's parameters are scored and when training stopped"
    )
    assert wording.enumerated([1, 3, 4]) == "1, 3 and 4"
    assert wording.enumerated([1]) == "1"


def test_a_spread_has_the_decimals_of_its_mean_and_neither_is_rounded_to_certainty() -> None:
    shown = [wording.percent(*case) for case in ((0.99634, 720, 0.00206), (0.99999, 720, 0.0), (0.5, 99))]
    assert shown == ["99.63 ± 0.21 %", "99.999 ± 0.000 %", "50.0 %"]
    assert wording.percent(0.9, 720, 0.00001) == "90.000 ± 0.001 %"
    assert wording.percent(0.9, 720, 1e-17) == "90.00 ± 0.00 %"
    assert wording.percent(None, 720) == "undefined"
