"""Numbers as people should read them: no more digits than they are worth, never rounded to certainty."""

import dataclasses
import json
import math

import pytest

from medjax.config import CROSSVAL_PRESETS, CrossvalConfig, DataConfig, TrainConfig
from medjax.records import DicomUse, LoadCounts, TableUse
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
    assert wording.percentages({**scores, "leading_ci95": "accuracy_ci95"}) == shown


def test_bounds_are_those_of_the_interval_that_leads() -> None:
    scores = {"n": 380, "accuracy": 0.9, "accuracy_ci95": [0.87, 0.93], "accuracy_ci95_grouped": [0.8, 0.95]}
    scores["leading_ci95"] = "accuracy_ci95_grouped"
    assert wording.percentages(scores) == ("90.00", "80.00", "95.00")
    assert wording.percentages({**scores, "accuracy_ci95_grouped": None}) == (
        "90.00",
        "undefined",
        "undefined",
    )


def test_shares_are_never_rounded_to_certainty() -> None:
    shown = [wording.share(value, 540) for value in (1.0, 0.0, 0.99996, 0.99994, 0.00004, None)]
    assert shown == ["1.0000", "0.0000", "> 0.9999", "0.9999", "< 0.0001", "undefined"]


def test_losses_have_three_digits() -> None:
    shown = [wording.number(value) for value in (0.0018, 1.791759, 0.0, 123.4, 3.2e-6, math.nan)]
    assert shown == ["0.00180", "1.79", "0.00", "123", "3.20 × 10⁻⁶", "undefined"]


def test_durations_are_in_the_units_they_need() -> None:
    shown = [wording.duration(seconds) for seconds in (0.844, 12.34, 59.96, 245.0, 3725.0, None)]
    assert shown == ["0.84 s", "12.3 s", "1 min 00 s", "4 min 05 s", "1 h 02 min", "undefined"]


def test_settings_of_another_version_are_shown_too() -> None:
    config = {"augment": False, "new_thing": None, "augmentation": {"zoom": 1.0}, "room": {"is_warm": True}}
    assert wording.settings(config) == {
        "augmentation": [("augment", "no")],
        "other": [("new thing", "none"), ("is warm", "yes")],
    }


def test_settings_are_shown_by_heading_with_their_units() -> None:
    shown = wording.settings(
        json.loads(json.dumps(dataclasses.asdict(CrossvalConfig(training=CROSSVAL_PRESETS["report"]))))
    )
    assert list(shown) == [
        "general", "cross-validation", "data", "network", "optimization", "augmentation", "early stopping", "plateau",
        "evaluation",
    ]  # fmt: skip
    assert shown["cross-validation"][0] == ("folds", "5")
    assert ("epochs", "10 passes over the training images") in shown["optimization"]
    assert ("block features", "32, 64 features") in shown["network"]
    assert ("fractions", "0.7, 0.15, 0.15 (train, val, test)") in shown["evaluation"]


def test_one_of_a_unit_is_named_in_the_singular_and_no_path_is_shown() -> None:
    data = DataConfig(image_size=1, near_threshold=1.0, groups="/home/someone/groups.csv")
    config = TrainConfig(epochs=1, batch_size=1, block_features=(1,), data=data)
    shown = wording.settings(json.loads(json.dumps(dataclasses.asdict(config))))
    assert {
        ("epochs", "1 pass over the training images"),
        ("batch size", "1 image"),
        ("block features", "1 feature"),
        ("rotation", "10 degrees either way"),
        ("image size", "1 pixel a side"),
        ("near threshold", "1 gray level"),
        ("groups", "groups.csv"),
    } <= {pair for group in shown.values() for pair in group}


@pytest.mark.parametrize(
    ("sources", "shown"),
    [
        (["user", "exact"], "Whole groups were kept together: 1 group."),
        (
            ["frames", "exact"],
            "No patient groups were given; frames of a file and identical images were grouped: 1 group.",
        ),
        (["exact"], "No patient groups were given; identical images were grouped: 1 group."),
        (["near"], "No patient groups were given; nearly identical images were grouped: 1 group."),
    ],
)
def test_duplicates_are_not_taken_for_patients(sources, shown) -> None:
    assert wording.groups_kept({"n": 1, "sources": sources}) == shown


@pytest.mark.parametrize("is_on", [True, False])
def test_settings_without_effect_are_not_shown(is_on) -> None:
    config = TrainConfig(
        augment=is_on,
        early_stopping=is_on,
        reduce_on_plateau=is_on,
        keep="best" if is_on else "last",
        model="cnn" if is_on else "networks.py:deep",
        optimizer="adamw" if is_on else "adam",
    )
    shown = wording.settings(dataclasses.asdict(config))
    names = {name for group in shown.values() for name, _ in group}
    dependent = {"zoom", "stop patience", "plateau factor", "best monitor", "hidden units", "weight decay"}
    assert names & dependent == (dependent if is_on else set())
    assert {"augment", "early stopping", "reduce on plateau", "model", "optimizer"} <= names


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


COUNTS = LoadCounts(resized=3, cropped=1, rescaled=2, bad=1, skipped=1)
DATA = {
    "image_shape": [28, 28, 1],
    "source_sizes": [[60, 96], [60, 96]],
    "window": {"low": 0, "high": 4095, "levels": 200},
    "loading": COUNTS._asdict(),
}


def test_loading_says_from_and_to_which_size_through_which_window_and_what_was_left_out() -> None:
    assert wording.loading(DATA) == [
        "3 images resized from 60 by 96 to 28 by 28 pixels, the model's size",
        "1 image not square, so cropped to their center",
        "2 images reduced from 16 to 8 bits: values 0 to 4095 as 200 gray levels",
        "1 file skipped as junk (system files, notes, arrays that are no images)",
        "1 image that cannot be used, left out by --skip-bad",
    ]
    deep = {**DATA, "image_shape": [28, 56, 1], "window": {**DATA["window"], "bits": 16}}
    assert wording.loading(deep)[1:3] == [
        "1 image of other proportions, so cropped to their center",
        "2 images kept at 16 bits: values 0 to 4095 as 200 gray levels",
    ]
    several = wording.loading({**DATA, "source_sizes": [[20, 30], [500, 400]]})
    assert several[0] == (
        "3 images resized from between 20 by 30 and 500 by 400 to 28 by 28 pixels, the model's size"
    )


def test_every_count_of_loading_has_its_words() -> None:
    every = dict.fromkeys(LoadCounts._fields, 2)
    lines = wording.loading({**DATA, "source_sizes": None, "window": None, "loading": every})
    assert len(lines) == len(every)
    assert not any("{" in line for line in lines)


def test_how_dicom_files_were_read_is_one_line():
    used = DicomUse("CT from -1350 to 150 HU", "PatientID")._asdict()
    assert wording.dicom(used) == "DICOM: CT from -1350 to 150 HU; groups by PatientID"
    assert wording.dicom({**used, "grouped_by": None}).endswith("; no groups of patients")
    assert wording.dicom({**used, "bits": 16}).endswith("; groups by PatientID; gray levels of 16 bits")


def test_what_was_taken_from_a_table_is_one_line():
    used = TableUse("t.csv", "0" * 64, "image_id", ("dx",), "lesion_id", rows=1_010)._asdict()
    assert wording.table(used) == "t.csv: 1,010 rows; images by image_id, labels by dx, groups by lesion_id"
    columns = tuple("abcdefg")
    counts = {"rows_without_image": 2, "images_without_row": 1, "images_beside": 3, "folders_beside": 1}
    used = TableUse(
        "t.csv", "", "id", columns, part_column="split", rows=9, images_without_label=1, **counts
    )._asdict()
    assert wording.table(used) == (
        "t.csv: 9 rows; images by id, labels by a, b, c, d, e …, parts by split; 2 rows without an image left out; "
        "1 image without a row left out; 1 image without a label left out; "
        "3 images left out, in 1 folder that no row names"
    )
