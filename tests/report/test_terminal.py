"""What a person reads in a terminal: every number that matters, and nothing that a terminal would obey."""

import copy
import math
from pathlib import Path

from medjax.report.terminal import (
    audit_lines,
    comparison_lines,
    epoch_line,
    evaluation_lines,
    training_lines,
)
from tests.pages import RUN, SCORES, grouped_scores
from tests.report.test_operating_point import block as decisions

ROW = {
    "epoch": 0,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "val_loss": 0.25,
    "val_accuracy": 0.9,
    "seconds": 1.0,
}
BLOCK = {
    **SCORES,
    "n": 380,
    "errors": 3,
    "accuracy": 377 / 380,
    "accuracy_ci95": [0.9771, 0.9973],
    "loss": 0.02131,
}
PATIENTS = {**RUN, "data": {**RUN["data"], "is_synthetic": False}}

FOUND = {
    "data": {
        "parts": "random, stratified by class",
        "counts": {"train": {"cat": 1400, "dog\x1b": 7}, "val": {"cat": 3, "dog\x1b": 3}, "test": {"cat": 300, "dog\x1b": 4}},
    },
    "exact_duplicates": {"redundant": 12, "groups": 5, "conflicting": 2},
    "exact_by_class": {"cat": 11, "dog\x1b": 0},
    "conflicts": [["cat/1.png", "dog/2.png"]],
    "near_duplicates": {
        "threshold": 2.0,
        "redundant": 40,
        "groups": 6,
        "largest": 21,
        "sizes": {"2": 4, "3-5": 1, "6-20": 0, "21-100": 1, "over 100": 0},
        "chained": ["cat"],
        "by_class": {
            "cat": {"n": 1703, "redundant": 39, "groups": 5, "largest": 21, "span": 17.5, "is_chained": True},
            "dog\x1b": {"n": 14, "redundant": 1, "groups": 1, "largest": 2, "span": 1.0, "is_chained": False},
        },
    },
    "leakage": {
        "statement": "Image level.",
        "groups_across_parts": {"n": 3, "named": {"P1": ["test", "train"]}},
        "test": {
            "n": 304,
            "exact": 3,
            "near": 9,
            "by_class": {"cat": {"n": 300, "exact": 3, "near": 8}, "dog\x1b": {"n": 4, "exact": 0, "near": 1}},
        },
    },
}  # fmt: skip


def test_a_row_for_each_class_and_a_line_for_each_thing_to_know():
    lines = audit_lines(FOUND)
    head, columns, cat, dog, total, *rest = lines
    assert [" ".join(line.split()) for line in (head, columns, cat, dog, total)] == [
        "images redundant largest test images with a copy in train",
        "class train val test identical near group identical near",
        "cat 1,400 3 300 11 39 21 3 (1.0%) 8 (2.7%)",
        r"dog\x1b 7 3 4 0 1 2 0 (0.0%) 1 (25.0%)",
        "all 1,407 6 304 12 40 21 3 (1.0%) 9 (3.0%)",
    ]
    text = "\n".join(rest)
    assert "12 redundant images in 5 groups; 2 images with conflicting labels" in text
    assert "at most 2 gray levels" in text
    assert "40 redundant images in 6 groups, by number of images: 4 of 2, 1 of 3-5, 1 of 21-100" in text
    assert "conflicting labels: cat/1.png = dog/2.png" in text
    assert (
        "largest group of cat is a chain of near-duplicates: 21 of 1,703 images, up to 17.5 gray levels apart"
        in text
    )
    assert "warning: 3 groups in more than one part: P1 (test, train) and 2 more" in text
    assert "split: random, stratified by class. Image level." in text
    assert "\x1b" not in "\n".join(lines)


def test_of_many_conflicts_some_are_listed():
    found = {**FOUND, "conflicts": [[f"cat/{n}.png", f"dog/{n}.png"] for n in range(13)]}
    lines = [line for line in audit_lines(found) if "conflicting labels" in line]
    assert len(lines) == 12
    assert lines[-1] == "… and 3 more groups with conflicting labels"


def test_data_that_cannot_be_split_still_have_a_table():
    found = copy.deepcopy(FOUND)
    found["data"]["counts"] = {"images": {"cat": 2, "dog\x1b": 1}}
    found["leakage"] = {"refused": ["class dog: 1 image cannot be split into 3 parts"]}
    lines = audit_lines(found)
    assert lines[2].split()[-2:] == ["-", "-"]
    assert lines[-1] == "no split: class dog: 1 image cannot be split into 3 parts"


def test_an_epoch_is_one_line_and_of_several_folds_the_mean():
    assert epoch_line([ROW], 20) == (
        "epoch 1/20: train loss 0.5000 accuracy 0.7500, val loss 0.2500 accuracy 0.9000, 1.0 s"
    )
    folds = [
        {**row, "val_loss": math.nan, "val_accuracy": math.nan} for row in (ROW, {**ROW, "train_loss": 0.3})
    ]
    assert epoch_line(folds, 20) == "epoch 1/20: mean of 2 folds: train loss 0.4000 accuracy 0.7500, 2.0 s"


def test_a_training_tells_its_scores_and_where_to_look():
    lines = training_lines({"test": BLOCK, "val": BLOCK}, RUN, Path("runs/x"))
    assert lines == [
        "test: accuracy 99.21 % (95 % interval 97.71 to 99.73 %), 3 errors of 380, loss 0.0213",
        "next: open runs/x/report.html, or score it again: medjax evaluate runs/x",
    ]
    mean = {"accuracy": 0.99634, "accuracy_sd": 0.00206, "loss": 0.01, "loss_sd": 0.002}
    lines = training_lines(
        {"pooled": {**BLOCK, "loss": None}, "folds": [BLOCK] * 3, "mean": mean}, RUN, Path("x")
    )
    assert lines[0].startswith("out of fold: accuracy 99.21 %")
    assert lines[0].endswith("loss undefined")
    assert lines[1].startswith("over 3 folds: accuracy 99.63 ± 0.21 %, loss 0.0100 ± 0.0020 (mean ± sd")
    assert "not a confidence interval" in lines[1]


def test_what_went_wrong_comes_right_after_the_scores():
    found = {"name": "not learnt", "sentence": "It has not learnt\x1b.", "remedy": "train anew"}
    lines = training_lines({"test": BLOCK, "diagnosis": [found]}, RUN, Path("runs/x"))
    assert lines[1] == r"diagnosis: It has not learnt\x1b. To change it: train anew."


def test_unequal_classes_lead_with_the_balanced_accuracy_and_warn():
    block = {
        **BLOCK,
        "balanced_accuracy": 0.4512,
        "balanced_accuracy_ci95": [0.4, 0.51],
        "largest_class": {"name": "nor\x1bmal", "share": 0.698, "gain_ci95": [-0.01, 0.02]},
        "never_predicted": ["Hand"],
    }
    first, *cautions, following = training_lines({"test": block}, RUN, Path("runs/x"))
    assert first == (
        r"test: balanced accuracy 45.12 % (95 % interval 40.00 to 51.00 %), accuracy 99.21 % (95 % interval 97.71 to "
        r"99.73 %; 69.80 % are of the largest class, nor\x1bmal), 3 errors of 380, loss 0.0213"
    )
    assert cautions == [
        "warning: Hand is never predicted: none of its 179 images is found",
        r"warning: accuracy is not shown to be above 69.80 %, that of always predicting nor\x1bmal (whose balanced accuracy "
        "is 33.33 %)",
    ]
    assert following.startswith("next: ")
    assert evaluation_lines({"test": {**block, "balanced_accuracy_ci95": None}}, RUN)[0].startswith(
        "test: balanced accuracy 45.12 %, accuracy"
    )


def test_groups_lead_and_of_one_group_there_is_no_interval():
    (line,) = evaluation_lines({"test": grouped_scores(BLOCK)}, RUN)
    assert line.startswith(
        "test: accuracy 99.21 % (95 % interval 90.00 to 99.90 %, over 40 groups), 3 errors"
    )
    (line,) = evaluation_lines({"test": grouped_scores(BLOCK, interval=None, units=1)}, RUN)
    assert line.startswith("test: accuracy 99.21 % (no interval: all images are of one group), 3 errors")


def test_one_line_asks_for_patients_unless_they_are_known():
    for lines in (
        training_lines({"test": BLOCK}, PATIENTS, Path("x")),
        evaluation_lines({"test": BLOCK, "val": BLOCK}, PATIENTS),
    ):
        (note,) = [line for line in lines if line.startswith("note: ")]
        assert "--groups FILE" in note
    known = {"data": {**PATIENTS["data"], "groups": {"n": 3, "sources": ["user"]}}}
    assert not any("--groups" in line for line in training_lines({"test": BLOCK}, known, Path("x")))


def test_an_evaluation_tells_new_images_and_those_of_the_training_apart():
    assert len(evaluation_lines({"val": BLOCK}, RUN)) == 1
    block = {**BLOCK, "operating_point": decisions(45, 5, 30, 120)}
    for name in ("val", "test"):
        _, line = evaluation_lines({name: block}, RUN)
        assert line.startswith(f"{name}, tumor at p ≥ 0.25: ")
        assert line.endswith("(thresholds chosen on these images: too good)") == (name == "val")
    external = {
        "external": BLOCK,
        "identical": {**BLOCK, "errors": 1},
        "num_identical": 380,
        "directory": "d",
    }
    new, old, following = evaluation_lines(external, PATIENTS)
    assert new.startswith("external: accuracy 99.21 %")
    assert old.startswith("identical to training images: accuracy")
    assert "1 error of 380" in old
    assert following == "next: every prediction is in d"


def test_a_comparison_tells_the_difference_and_names_what_changed():
    change = {"n": 0, "ids": []}
    rows = {
        "accuracy": (0.9, 0.87, [-0.08, 0.02], 0.25),
        "balanced_accuracy": (0.5, 0.5, [-0.01, 0.01], None),
        "auc": (0.9, 0.8, [-0.15, -0.05], 0.0301),
        "sensitivity_at_specificity": (1.0, 1.0, None, None),
    }
    names = ("first", "second", "ci95", "p")
    compared = {
        "n": 200,
        "only_first": 0,
        "only_second": 1234,
        "ci95": [-0.08, 0.02],
        "unit": "image",
        "scores": {
            name: {**dict(zip(names, row, strict=True)), "difference": row[1] - row[0]}
            for name, row in rows.items()
        },
        "specificity": 0.9,
        "positive": None,
        "right_to_wrong": {"n": 3, "ids": ["a\x1b", "b"]},
        "wrong_to_right": change,
        "wrong_to_wrong": change,
    }
    assert comparison_lines(compared) == [
        "200 images in both (0 only in the first, 1,234 only in the second)",
        "accuracy 90.00 %, then 87.00 %: a difference of −3.00 percentage points (95 % interval −8.00 to +2.00, over "
        "images), McNemar's exact p = 0.25",
        "balanced accuracy 50.00 %, then 50.00 %: a difference of +0.00 percentage points (95 % interval −1.00 to +1.00)",
        "AUC (mean over the classes) 0.9000, then 0.8000: a difference of −0.1000 (95 % interval −0.1500 to −0.0500), "
        "DeLong's p = 0.0301",
        "sensitivity at a specificity of 90 % (mean over the classes) 100.00 %, then 100.00 %: a difference of +0.00 "
        "percentage points (no interval: too few images differ)",
        r"right to wrong: 3: a\x1b, b and 1 more",
        "wrong to right: 0",
        "wrong under both, but another class: 0",
    ]
    compared["scores"]["accuracy"]["ci95"] = None
    grouped = comparison_lines({**compared, "ci95": None, "unit": "group", "positive": "b"})
    assert grouped[1].endswith("(no interval: all images are of one group), McNemar's exact p = 0.25")
    assert grouped[3].startswith("AUC (b) 0.9000")
    compared["scores"]["balanced_accuracy"]["ci95"] = None
    assert "(no interval: the images of a class are of one group)" in comparison_lines(compared)[2]
    labels = {name: compared["scores"][name] for name in ("accuracy", "auc")}
    assert comparison_lines({**compared, "scores": labels})[2].startswith("AUC (mean over the labels) 0.9000")


def test_prediction_sets_have_a_line_and_their_warnings():
    covered = {"n": 380, "coverage": 0.75, "coverage_ci95": [0.7, 0.79]}
    sets = {
        **covered,
        "wanted": 0.9,
        "mean_size": 1.25,
        "single": 0.5,
        "empty": 0.25,
        "per_class": {"CXR": covered},
    }
    block = {**BLOCK, "prediction_sets": sets}
    config = {**RUN["config"], "keep": "best", "coverage": 0.9, "conformal_share": 0.0}
    for lines in (
        training_lines({"test": block}, {**RUN, "config": config}, Path("runs/x")),
        evaluation_lines({"test": block}, {**RUN, "config": config}),
    ):
        assert lines[1].startswith(
            "test, sets at 90 %: hold the true class for 75.00 % (70.00 to 79.00 %) of 380"
        )
        assert any("warning: sets hold the true class for only 75.00 % of CXR" in line for line in lines)
        assert any("warning: the guarantee of these sets is void" in line for line in lines)
    on_val = evaluation_lines({"val": block}, {**RUN, "config": {**config, "keep": "last"}})
    own = "warning: the validation part set the thresholds of these sets"
    assert [line.startswith(own) for line in on_val].count(True) == 1
    assert not any(own in line for line in lines)
    of_folds = {**RUN, "config": {"folds": 5, "training": {**config, "conformal_share": 0.1}}}
    assert not any(own in line for line in evaluation_lines({"val": block}, of_folds))
    assert not any("void" in line for line in training_lines({"test": block}, of_folds, Path("runs/x")))
