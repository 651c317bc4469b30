"""An audit in words: every number that matters, and nothing that a terminal would obey."""

import copy

from medjax.report.terminal import audit_lines

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
        "images redundant largest test images with a twin in train",
        "class train val test identical nearly group identical nearly",
        "cat 1,400 3 300 11 39 21 3 (1.0%) 8 (2.7%)",
        r"dog\x1b 7 3 4 0 1 2 0 (0.0%) 1 (25.0%)",
        "all 1,407 6 304 12 40 21 3 (1.0%) 9 (3.0%)",
    ]
    text = "\n".join(rest)
    assert "12 redundant images in 5 groups; 2 images under two labels" in text
    assert "at most 2 grey levels" in text
    assert "40 redundant images in 6 groups, by number of images: 4 of 2, 1 of 3-5, 1 of 21-100" in text
    assert "under two labels: cat/1.png = dog/2.png" in text
    assert "largest group of cat is a chain: 21 of 1,703 images, as far as 17.5 grey levels apart" in text
    assert "warning: 3 groups in more than one part: P1 (test, train) and 2 more" in text
    assert "parts: random, stratified by class. Image level." in text
    assert "\x1b" not in "\n".join(lines)


def test_of_many_conflicts_some_are_listed():
    found = {**FOUND, "conflicts": [[f"cat/{n}.png", f"dog/{n}.png"] for n in range(13)]}
    lines = [line for line in audit_lines(found) if "two labels" in line]
    assert len(lines) == 12
    assert lines[-1] == "… and 3 more groups under two labels"


def test_data_that_cannot_be_split_still_have_a_table():
    found = copy.deepcopy(FOUND)
    found["data"]["counts"] = {"images": {"cat": 2, "dog\x1b": 1}}
    found["leakage"] = {"refused": ["class dog: 1 images cannot be split into 3 parts"]}
    lines = audit_lines(found)
    assert lines[2].split()[-2:] == ["-", "-"]
    assert lines[-1] == "no split: class dog: 1 images cannot be split into 3 parts"
