"""Sources that are no data set of class folders: one line for each kind of problem, with a remedy that works."""

import re

import pytest

from medjax.data.reading.layout import label_by_folder
from medjax.data.reading.layout_problems import find_masks
from medjax.data.reading.listing import Entry

TREE = ("cat/1.png", "cat/2.png", "dog/1.png")
PARTS = tuple(f"{part}/{name}" for part in ("train", "test") for name in TREE)


def layout_of(names, ignore=(), nested="refuse"):
    return label_by_folder([Entry(name, key) for key, name in enumerate(names)], "source", ignore, nested)


def line_of(*names):
    """The only problem of a source, as a line."""
    (problem,) = layout_of(names).problems
    return str(problem)


def cured(*names):
    """The layout that the options named in the only problem lead to."""
    line = line_of(*names)
    nested = re.findall("--nested (ignore|group)", line)
    return layout_of(names, re.findall("--ignore '([^']*)'", line), nested[0] if nested else "refuse")


@pytest.mark.parametrize(
    "folders",
    [
        ("HAM10000_images_part_1", "HAM10000_images_part_2"),
        ("images_001", "images_002"),
        ("fold_1", "fold_2"),
        ("images", "masks"),
        ("patient_1", "patient_2"),
        ("frames", "frames"),
    ],
)
def test_folders_of_storage_are_no_classes(folders):
    names = [f"{folder}/{number}.png" for number, folder in enumerate(folders)]
    layout = layout_of([*names, "README", "meta.csv"])
    assert (layout.images, layout.class_names) == ([], ())
    (line,) = map(str, layout.problems)
    assert line.startswith("source: its folder")
    assert "like storage" in line
    assert "meta.csv" in line
    assert "--labels FILE" in line
    assert "meta.csv" not in line_of(*names)


@pytest.mark.parametrize(
    "folders", [("cat_images", "dog_images"), ("grade_1", "grade_2"), ("0", "1"), ("images", "cat")]
)
def test_names_that_differ_in_other_words_are_classes(folders):
    assert layout_of([f"{folder}/1.png" for folder in folders]).problems == []


@pytest.mark.parametrize("prefix", ["train", "test"])
def test_parts_whose_folders_are_storage_are_refused_too(prefix):
    line = line_of(
        "train/images/1.png",
        "train/masks/1.png",
        f"{prefix}/images/2.png",
        "test/images/3.png",
        "test/masks/3.png",
    )
    assert "like storage, not like classes: images, masks" in line


def test_images_directly_in_the_parts_have_no_classes():
    line = line_of("train_images/1.png", "test_images/2.png", "test_images/3.png", "train.csv")
    assert line.startswith("source: its images (3) lie directly in test_images, train_images; ")
    assert "train.csv" in line


def test_images_in_no_folder_have_no_classes():
    assert line_of("1.png", "2.png", "labels.csv").startswith(
        "source: its images (2) lie without class folders; "
    )


def test_nested_folders_are_one_line_and_both_answers_cure_it():
    names = [
        f"{kind}/{kind}_{patient}/{image}.png" for kind in "ab" for patient in range(6) for image in range(4)
    ]
    line = line_of(*names)
    assert line.startswith(
        "a/a_0: is one of 12 folders nested inside a class folder, with 48 images, such as a/a_0/0.png"
    )
    for nested in ("ignore", "group"):
        assert f"--nested {nested}" in line
        assert layout_of(names, nested=nested).problems == []


def test_one_nested_folder_may_also_be_ignored():
    line = line_of(*TREE, "dog/more/2.png")
    assert "nested inside a class folder, with 1 image, such as dog/more/2.png" in line
    assert line.endswith("or --ignore 'dog/more')")


def test_a_single_part_beside_other_folders_shows_the_names_of_parts():
    assert "validation" in line_of("train/cat/1.png", "hold_out/cat/2.png")


@pytest.mark.parametrize(
    "names",
    [
        ("cat/images/1.png", "cat/masks/1.png", "dog/images/2.png", "dog/masks/2.png"),
        ("cat/images/1.png", "cat/lung masks/1.png", "dog/images/2.png", "dog/infection masks/2.png"),
        ("cat/1.png", "cat/segmentation/1.png", "dog/2.png", "dog/segmentation/2.png"),
        ("cat/1.png", "cat/1_mask.png", "dog/2.png", "dog/2_mask.png", "dog/2_mask_1.png"),
        ("cat/a (1).png", "cat/a (1)_segmentation.PNG", "dog/2.png"),
        ("train/cat/1.png", "train/cat/1_mask.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png"),
    ],
)
def test_masks_are_named_once_and_what_the_line_says_leaves_them_out(names):
    assert "mask" in line_of(*names)
    layout = cured(*names)
    assert layout.problems == []
    assert not any(re.search("mask|segment", image.id) for image in layout.images)
    assert len(layout.images) + layout.ignored == len(names)


@pytest.mark.parametrize("nested", ["ignore", "group"])
def test_masks_are_never_taken_for_nested_images(nested):
    (problem,) = layout_of(
        ("cat/images/1.png", "cat/masks/1.png", "dog/images/2.png"), nested=nested
    ).problems
    assert problem.name == "cat/masks"


def test_only_files_beside_their_image_are_masks():
    assert find_masks(["a/1.png", "a/1_mask.png", "b/1_mask.png", "a/2_mask.png", "a/1_seg.png"]) == {
        "a/1_mask.png",
        "a/1_seg.png",
    }
    assert find_masks(["with_mask/1.png", "without_mask/1.png"]) == set()


@pytest.mark.parametrize("tree", [TREE, PARTS])
@pytest.mark.parametrize("wrapper", ["", "chest_xray/"])
def test_an_inner_copy_is_recognized(tree, wrapper):
    names = [*(wrapper + name for name in tree), *(f"{wrapper}chest_xray/{name}" for name in tree)]
    line = line_of(*names)
    assert line.startswith(
        f"chest_xray: is a copy of the data set inside itself: {len(tree)} of its {len(tree)} files"
    )
    layout = cured(*names)
    assert (layout.problems, layout.ignored) == ([], len(tree))
    assert [image.id for image in layout.images] == sorted(tree)


def test_a_part_without_labels_is_named_once_with_what_takes_it():
    names = [*(f"{part}/{name}" for part in ("train", "val") for name in TREE), "test/1.png", "test/2.png"]
    line = line_of(*names)
    assert line.startswith("test: is a part without labels: its images (2) are in no folder of a class (")
    assert (cured(*names).problems, cured(*names).ignored) == ([], 2)
    alone = cured(*(f"train/{name}" for name in TREE), "test/1.png", "test/2.png")
    assert [image.id for image in alone.images] == list(TREE)


def test_stray_files_are_one_line_each_kind():
    lines = [
        str(problem) for problem in layout_of([*PARTS, "x.png", "y.png", "more/1.png", "more/2.png"]).problems
    ]
    assert [line.split(" (")[0] for line in lines] == [
        "x.png: is one of 2 images outside the class folders",
        "more: is beside the parts test, train, with 2 files",
    ]
    assert layout_of([*PARTS, "more/1.png", "more/2.png"], ignore=("more",)).problems == []
