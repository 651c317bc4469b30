"""Names of parts, of storage and of masks."""

import pytest

from medjax.data.reading.folder_names import (
    PART_NAMES,
    are_masks,
    are_storage,
    known_part_names,
    mask_pattern,
    mask_stem,
    part_of,
)


@pytest.mark.parametrize("part", PART_NAMES)
def test_every_name_that_is_shown_is_known(part):
    for name in PART_NAMES[part]:
        assert name in known_part_names()
        assert {
            part_of(each) for each in (name, name.title(), f"{name}_set", f"{name} images", f"{name}set")
        } == {part}


@pytest.mark.parametrize(
    "name", ["cat", "trainer", "tests_of_blood", "valley", "train_cat", "training_labels", ""]
)
def test_other_names_are_no_parts(name):
    assert part_of(name) is None


@pytest.mark.parametrize(
    "names", [["images"], ["part_1", "part_2"], ["ISIC2018_images_1", "ISIC2018_images_2"], ["train", "data"]]
)
def test_storage(names):
    assert are_storage(names)


@pytest.mark.parametrize(
    "names",
    [
        ["cat"],
        ["1", "2"],
        ["case", "control"],
        ["t1_images", "t2_images"],
        ["normal", "images"],
        ["_", "__"],
        ["肺炎", "正常"],
    ],
)
def test_no_storage(names):
    assert not are_storage(names)


def test_masks():
    assert all(
        map(
            are_masks,
            ["masks", "Mask", "lung masks", "infection_masks", "ground truth", "GT", "segmentation"],
        )
    )
    assert not any(map(are_masks, ["masked", "images", "patient_1", "masks_of_venice", ""]))


@pytest.mark.parametrize(
    ("name", "stem", "pattern"),
    [
        ("1_mask.png", "1", "*_mask.png"),
        ("benign (1)_mask_2.png", "benign (1)", "*_mask_[0-9].png"),
        ("ISIC_0000_segmentation.png", "ISIC_0000", "*_segmentation.png"),
        ("a-seg.PNG", "a", "*-seg.PNG"),
        ("mask.png", None, None),
        ("masked_1.png", None, None),
    ],
)
def test_files_of_masks(name, stem, pattern):
    assert (mask_stem(name), mask_pattern(f"cat/{name}")) == (stem, pattern)
