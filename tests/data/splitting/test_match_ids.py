"""Ids of tables against ids of images: the longest common end of the paths decides, or nothing does."""

import pytest

from medjax.data.splitting.match_ids import match_ids, tidy_id


def match(images, groups):
    found, ambiguous, elsewhere = match_ids(images, groups)
    return found, ambiguous, elsewhere


@pytest.mark.parametrize(
    ("image", "id"),
    [
        ("cat/0.png", "cat/0.png"),
        ("cat/0.png", "0.png"),
        ("cat/0.png", "0"),
        ("cat/0.png", "cat/0"),
        ("cat/0.png", "data/set/cat/0.png"),
        ("cat/scan.PNG", "scan.dcm"),
        ("a/1.2.840.png", "1.2.840"),
    ],
)
def test_an_id_with_fewer_or_more_folders_with_or_without_suffix(image, id):
    assert match([image, "cat/other.png"], {id: "P", "none": "Q"}) == ({image: id}, [], [])


@pytest.mark.parametrize(
    ("image", "id"), [("cat/0.png", "00"), ("a/1.2.840.png", "1.2"), ("cat/0.png", "cat")]
)
def test_what_is_no_whole_component_is_no_match(image, id):
    assert match([image], {id: "P"}) == ({}, [], [])


def test_an_equal_id_comes_first_and_is_used_once():
    groups = {"0.png": "P", "b/0.png": "Q"}
    assert match(["0.png", "c/0.png"], groups) == ({"0.png": "0.png"}, [], [])


def test_the_longer_end_wins_on_both_sides():
    groups = {"x/1.png": "P", "y/1.png": "Q"}
    images = ["s/x/1.png", "s/y/1.png", "s/z/1.png"]
    found, ambiguous, _ = match(images, groups)
    assert found == {"s/x/1.png": "x/1.png", "s/y/1.png": "y/1.png"}
    assert not ambiguous
    assert match(["s/x/1.png", "s/z/1.png"], {"x/1.png": "P"})[0] == {"s/x/1.png": "x/1.png"}


def test_the_name_with_its_suffix_comes_before_the_name_alone():
    found, ambiguous, _ = match(["a/1.png", "a/1.jpg"], {"1.png": "P", "1.jpg": "Q"})
    assert found == {"a/1.png": "1.png", "a/1.jpg": "1.jpg"}
    assert not ambiguous
    assert match(["a/1.png", "a/1.jpg"], {"1": "P"})[1] == ["a/1.jpg", "a/1.png"]


def test_several_ids_of_one_group_are_no_contradiction():
    assert match(["1.png"], {"a/1.png": "P", "b/1.png": "P"})[:2] == ({"1.png": "a/1.png"}, [])
    assert match(["1.png"], {"a/1.png": "P", "b/1.png": "Q"})[:2] == ({}, ["1.png"])


def test_other_folders_are_no_match_unless_the_name_is_the_only_one():
    """As of CheXpert's valid folder, whose file names are those of train."""
    rows = {"train/p1/view.jpg": "P", "train/p2/view.jpg": "Q"}
    found, ambiguous, elsewhere = match(["train/p1/view.jpg", "valid/p7/view.jpg"], rows)
    assert (found, ambiguous, elsewhere) == ({"train/p1/view.jpg": "train/p1/view.jpg"}, [], [])
    assert match(["valid/p7/view.jpg"], {"train/p1/view.jpg": "P"})[2] == [
        ("valid/p7/view.jpg", "train/p1/view.jpg")
    ]
    assert match(["a/1.png", "b/1.png"], {"c/1.png": "P"}) == ({}, [], [])


def test_an_end_that_is_all_of_the_id_comes_before_a_longer_common_end():
    rows = {"q/x/a.png": "P", "a.png": "Q"}
    assert match(["p/x/a.png"], rows)[0] == {"p/x/a.png": "a.png"}


def test_many_images_of_one_name_take_no_quadratic_time():
    """As in CheXpert, whose files are all called view1_frontal.jpg."""
    ids = [f"train/patient{number}/study1/view1_frontal.jpg" for number in range(50_000)]
    images = [id.removeprefix("train/") for id in ids]
    found, ambiguous, elsewhere = match(images, {id: id.split("/")[1] for id in ids})
    assert len(found) == len(ids)
    assert not ambiguous
    assert not elsewhere


def test_a_path_of_many_folders_takes_little_memory():
    """A stranger's table: every end of the path as a text of its own would take gigabytes."""
    deep = "a/" * 60_000
    assert match([f"{deep}x.png"], {f"{deep}b/x": "P", "y": "Q"})[0] == {f"{deep}x.png": f"{deep}b/x"}


@pytest.mark.parametrize("id", ["./cat//0.png", "cat\\0.png", "/cat/0.png", "cat/0.png"])
def test_ids_are_written_as_data_sets_write_them(id):
    assert tidy_id(id) == "cat/0.png"
