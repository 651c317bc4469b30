"""Rows and images meet: what is in one of both only is named, and nothing is left out unsaid."""

import pytest

from medjax.config import ReadingConfig
from medjax.data.reading.listing import Entry
from medjax.data.tables.label_images import label_images
from medjax.data.tables.read_labels import read_labels
from medjax.errors import RefusedError


def label(names, columns, **settings):
    config = ReadingConfig(**settings)
    entries = [Entry(name, name) for name in names]
    return label_images(entries, read_labels(columns, config), "source", config)


def classes(labelled):
    return {image.id: image.class_name for image in labelled.layout.images}


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["part_1/a.jpg", "part_2/b.jpg"], ["a", "b"]),
        (["x/a.jpg", "y/a.jpg"], ["set/x/a.jpg", "set/y/a.jpg"]),
        (["set/x/a.jpg", "set/y/a.png", "set/notes.txt"], ["x/a", "y/a"]),
        (["a.JPG", "b.png"], ["a.JPG", "b"]),
    ],
    ids=["two-folders", "longer-paths", "shorter-paths", "flat"],
)
def test_names_match_by_their_ends(names, ids):
    labelled = label(names, {"path": ids, "label": ["u", "v"]})
    assert [*classes(labelled).values()] == ["u", "v"]
    assert labelled.layout.class_names == ("u", "v")
    assert (labelled.groups, labelled.parts, labelled.folds) == (None, None, None)


def test_groups_and_parts_are_in_the_order_of_the_images():
    columns = {"id": ["c", "a", "b"], "label": [1, 0, 1], "patient": ["P", "Q", "P"], "split": ["train", "train", "test"]}  # fmt: skip
    labelled = label(["x/a.png", "x/b.png", "y/c.png"], columns)
    assert labelled.groups.tolist() == ["Q", "P", "P"]
    assert labelled.parts.tolist() == ["train", "test", "train"]


def test_a_folder_that_no_row_names_is_left_out_and_counted():
    """APTOS's test_images; those of SIIM lie deeper."""
    names = ["train/a.png", "train/b.png", "test/c.png", "test/d.png", "jpeg/test/e.jpg", "jpeg/sub/k/f.jpg"]
    labelled = label(names, {"id_code": ["a", "b"], "diagnosis": [0, 1]})
    assert [*classes(labelled)] == ["train/a.png", "train/b.png"]
    assert (labelled.use.images_beside, labelled.use.folders_beside) == (4, 2)


def test_what_is_in_one_of_both_only_is_named_in_full_and_left_out_if_asked():
    names = [f"x/{number}.png" for number in range(60)]
    columns = {"id": [f"{number}" for number in range(30, 100)], "label": [*"ab" * 34, "", None]}
    columns["label"][0] = ""
    with pytest.raises(RefusedError) as refusal:
        label(names, columns)
    problems = refusal.value.problems
    assert len(problems) == 30 + 1 + 40
    assert {problem.name for problem in problems} == {*names[:30], "x/30.png", *columns["id"][30:]}
    assert all(problem.remedy == "leave such out: --allow-missing" for problem in problems)
    labelled = label(names, columns, allow_missing=True)
    assert [*classes(labelled)] == names[31:]
    use = labelled.use
    assert (use.rows, use.rows_without_image) == (70, 40)
    assert (use.images_without_row, use.images_without_label) == (30, 1)


def test_uncertain_labels_are_left_out_if_so_said():
    columns = {"id": ["a", "b", "c"], "label": [1, 0, -1]}
    labelled = label(["x/a.png", "x/b.png", "x/c.png"], columns, uncertain="ignore")
    assert classes(labelled) == {"x/a.png": "1", "x/b.png": "0"}
    assert labelled.use.images_without_label == 1
    several = {"id": ["a", "b", "c"], "A": [1, 0, 0], "B": [0, 1, -1]}
    labelled = label(["x/a.png", "x/b.png", "x/c.png"], several, uncertain="ignore", label_columns=("A", "B"))
    assert classes(labelled) == {"x/a.png": "A", "x/b.png": "B"}


def test_files_that_are_no_images_need_no_row():
    labelled = label(["x/a.png", "x/b.png", "x/weights.pt"], {"id": ["a", "b"], "label": [0, 1]})
    assert labelled.layout.skipped == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"id": ["a", "b", "a"], "label": ["u", "v", "w"]},
            r"x/a\.png: has rows in labels that differ: label u and w",
        ),
        (
            {"id": ["a", "b", "a"], "label": ["u", "v", "u"], "patient": [1, 2, 3]},
            r"x/a\.png: has rows in labels that differ: group 1 and 3",
        ),
        (
            {"id": ["z1", "z2"], "label": ["u", "v"]},
            r"labels: names none of the images: id holds z1, z2; .*--image-column",
        ),
        (
            {"id": ["a", "b"], "label": ["u", "v"], "patient": ["P", ""]},
            r"labels: column patient is empty for 1 images: x/b\.png .*--group-column none",
        ),
        ({"id": ["a.jpg", "a.tif", "b"], "label": ["u", "v", "v"]}, r"x/a\.png: fits several rows of labels"),
        ({"id": [], "label": []}, "labels: has no rows"),
    ],
    ids=["labels", "groups", "no-image", "no-group", "ambiguous", "no-rows"],
)
def test_what_contradicts_is_refused(columns, message):
    with pytest.raises(RefusedError, match=message) as refusal:
        label(["x/a.png", "x/b.png"], columns)
    assert len(refusal.value.lines()) == 1


def test_two_images_that_share_a_row_are_refused():
    """A mask of the same name as its image, for one."""
    with pytest.raises(RefusedError, match=r"masks/a\.png: fits several rows .*or --ignore 'masks/a\.png'"):
        label(["images/a.png", "masks/a.png", "images/b.png"], {"id": ["a", "b"], "label": [0, 1]})


def test_a_source_without_images_is_refused():
    with pytest.raises(RefusedError, match="source: contains no images"):
        label([], {"id": ["a"], "label": [0]})
