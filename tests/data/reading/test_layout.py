"""Classes, parts, junk and wrapping folders, from names alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data.reading.layout import label_by_folder, list_unlabelled
from medjax.data.reading.listing import Entry, Fault

TREE = ("cat/1.png", "cat/2.png", "dog/1.png")
PARTS = tuple(f"{part}/{name}" for part in ("train", "test") for name in TREE)
WORDS = st.text("abcXYZ09é _", min_size=1, max_size=6).filter(str.strip)
TREES = st.dictionaries(WORDS, st.sets(WORDS, min_size=1, max_size=4), min_size=2, max_size=4)


def entries_of(names):
    """Entries of files, and of folders where a name ends with a slash."""
    return [Entry(name.rstrip("/"), key, name.endswith("/")) for key, name in enumerate(names)]


def layout_of(*names, ignore=()):
    return label_by_folder(entries_of(names), "source", ignore)


def lines_of(*names, ignore=()):
    return [str(problem) for problem in layout_of(*names, ignore=ignore).problems]


@pytest.mark.parametrize("folders", [(), ("cat/", "dog/")])
def test_a_folder_for_each_class(folders):
    layout = layout_of(*TREE, *folders)
    assert layout.problems == []
    assert layout.class_names == ("cat", "dog")
    assert [(image.id, image.class_name, image.part) for image in layout.images] == [
        (name, name.split("/")[0], "") for name in TREE
    ]


def test_parts_are_kept():
    layout = layout_of(*PARTS)
    assert layout.problems == []
    assert layout.class_names == ("cat", "dog")
    assert {image.part for image in layout.images} == {"train", "test"}
    assert all(image.id.startswith(image.part) for image in layout.images)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_names_of_the_validation_part(name):
    layout = layout_of(*PARTS, f"{name}/cat/1.png", f"{name}/dog/1.png")
    assert layout.problems == []
    assert {image.part for image in layout.images if image.id.startswith(name)} == {"val"}


def test_one_part_alone_is_a_wrapping_folder():
    layout = layout_of(*(f"train/{name}" for name in TREE))
    assert [image.id for image in layout.images] == list(TREE)
    assert {image.part for image in layout.images} == {""}


@pytest.mark.parametrize("tree", [TREE, PARTS])
@pytest.mark.parametrize(
    "beside", [(), ("README.md",), ("__MACOSX/wrap/cat/._1.png", ".DS_Store"), ("wrap/",)]
)
def test_one_wrapping_folder_is_taken_off(tree, beside):
    layout = layout_of(*(f"wrap/{name}" for name in tree), *beside)
    assert layout.problems == []
    assert [image.id for image in layout.images] == sorted(tree)
    assert layout.skipped == sum(not name.endswith("/") for name in beside)


def test_two_wrapping_folders_are_not():
    assert all("nested" in line for line in lines_of(*(f"a/b/{name}" for name in TREE))[:3])


def test_a_wrapping_folder_shows_once_its_neighbour_is_ignored():
    layout = layout_of("extra/x.png", *(f"wrap/{name}" for name in TREE), ignore=("extra",))
    assert layout.problems == []
    assert layout.ignored == 1
    assert [image.id for image in layout.images] == list(TREE)


@given(TREES, st.booleans(), st.booleans(), st.randoms())
def test_wrapping_order_and_folder_entries_change_nothing(tree, is_wrapped, has_folders, random):
    names = [f"{folder}/{name}.png" for folder, files in tree.items() for name in files]
    expected = layout_of(*sorted(names))
    more = [f"{folder}/" for folder in tree] * has_folders
    shuffled = random.sample(names + more, len(names + more))
    layout = layout_of(*(("wrap/" * is_wrapped) + name for name in shuffled))
    assert [image.id for image in layout.images] == [image.id for image in expected.images] == sorted(names)
    assert layout.class_names == expected.class_names == tuple(sorted(tree))


def test_a_hidden_image_is_an_image():
    assert len(layout_of(*TREE, "cat/.hidden.png").images) == 4


@pytest.mark.parametrize(
    "name", ["README", "readme.md", "LICENSE.txt", "labels.csv", "index.html", "meta.JSON"]
)
def test_documents_at_the_top_are_skipped(name):
    assert layout_of(*TREE, name).problems == []
    assert layout_of(*TREE, name).skipped == 1
    assert layout_of(*PARTS, f"train/{name}").skipped == 1


@pytest.mark.parametrize("name", ["README.png", "model.bin", "license.zip"])
def test_other_files_at_the_top_are_not(name):
    assert len(lines_of(*TREE, name)) == 1


def test_a_junk_file_does_not_hide_an_empty_class():
    assert lines_of(*TREE, "bird/.DS_Store") == [
        "bird: is an empty class (put its images there, or --ignore 'bird')"
    ]
    assert lines_of(*TREE, "bird/", "bird/inner/") == lines_of(*TREE, "bird/.DS_Store")


def test_a_class_without_all_its_files_is_no_class():
    layout = layout_of(*TREE, "bird/", "bird/1.png", ignore=("bird/*",))
    assert layout.problems == []
    assert layout.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("cat", 2),
        ("cat/", 2),
        ("cat/1.png", 1),
        ("1.png", 2),
        ("*/1.png", 2),
        ("c*", 2),
        ("cat/?.png", 2),
        ("x", 0),
    ],
)
def test_ignored_files_are_counted(pattern, count):
    layout = layout_of(*TREE, "bird/3.png", "fox/4.png", ignore=(pattern,))
    assert layout.ignored == count


def test_ignoring_does_not_look_at_the_wrapping_folder():
    assert len(layout_of(*(f"cat/{name}" for name in TREE), "cat/bird/1.png", ignore=("cat",)).images) == 2


def test_class_names_sort_by_code_point():
    assert layout_of("b/1.png", "B/1.png", "é/1.png", "10/1.png", "9/1.png").class_names == (
        "10",
        "9",
        "B",
        "b",
        "é",
    )


def test_a_fault_is_a_problem_unless_the_file_is_left_out():
    faulty = Entry("cat/pipe", 9, fault=Fault("is a pipe", "remove it"))
    assert len(label_by_folder([*entries_of(TREE), faulty], "source").problems) == 1
    assert label_by_folder([*entries_of(TREE), faulty], "source", ["cat/pipe"]).problems == []
    assert label_by_folder([*entries_of(TREE), faulty._replace(name="cat/._pipe")], "source").problems == []


def test_parts_must_be_whole_and_alike():
    assert lines_of(*PARTS, "val/cat/1.png") == [
        "val/dog: is missing: other parts have the class dog (give all parts the same classes; or --ignore 'dog')"
    ]
    assert any("train: is missing" in line for line in lines_of("val/cat/1.png", "test/cat/1.png"))


def test_images_without_labels_may_lie_anywhere():
    layout = list_unlabelled(
        entries_of(["1.png", "a/b/c/2.png", "README", ".DS_Store", "a/"]), "scans", ["scans/x"]
    )
    assert [image.id for image in layout.images] == ["scans/1.png", "scans/a/b/c/2.png"]
    assert layout.problems == []
    assert [
        image.id for image in list_unlabelled(entries_of(["1.png", "2.png"]), "s", ["s/1.png"]).images
    ] == ["s/2.png"]
