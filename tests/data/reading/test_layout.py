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


def layout_of(*names, ignore=(), nested="refuse"):
    return label_by_folder(entries_of(names), "source", ignore, nested)


def lines_of(*names, ignore=(), nested="refuse"):
    return [str(problem) for problem in layout_of(*names, ignore=ignore, nested=nested).problems]


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


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation", "dev", "val_set", "Dev-Images"])
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


@pytest.mark.parametrize("tree", [TREE, PARTS])
def test_two_wrapping_folders_are_taken_off(tree):
    layout = layout_of(*(f"a/b/{name}" for name in tree), "a/", "a/b/", "README", "a/about.txt", "a/b/x.txt")
    assert layout.problems == []
    assert [image.id for image in layout.images] == sorted(tree)
    assert layout.skipped == 3


def test_a_folder_that_is_ignored_shows_another_wrapping_one():
    layout = layout_of(*(f"a/b/{name}" for name in TREE), "a/extra/x.png", ignore=("extra",))
    assert (layout.problems, layout.ignored) == ([], 1)
    assert [image.id for image in layout.images] == list(TREE)


@pytest.mark.parametrize(
    "folders", [("Training", "Testing"), ("train_set", "test_set"), ("TRAIN", "dev"), ("train", "test-data")]
)
def test_parts_have_many_names(folders):
    layout = layout_of(*(f"{folder}/{name}" for folder in folders for name in TREE))
    assert layout.problems == []
    parts = {image.id.split("/")[0]: image.part for image in layout.images}
    assert parts == {folders[0]: "train", folders[1]: "val" if folders[1] == "dev" else "test"}


def test_train_and_val_alone_are_parts():
    layout = layout_of(*(f"{part}/{name}" for part in ("train", "val") for name in TREE))
    assert layout.problems == []
    assert {image.part for image in layout.images} == {"train", "val"}


PATIENTS = ("cat/p1/1.png", "cat/p1/deep/2.png", "cat/p2/1.png", "dog/p3/1.png", "dog/0.png")


@pytest.mark.parametrize("nested", ["ignore", "group"])
@pytest.mark.parametrize("prefix", ["", "train/"])
def test_folders_in_class_folders_are_taken_if_asked(nested, prefix):
    names = [prefix + name for name in PATIENTS] + ([f"test/{name}" for name in TREE] if prefix else [])
    layout = layout_of(*names, nested=nested)
    assert layout.problems == []
    assert layout.class_names == ("cat", "dog")
    assert [image.id for image in layout.images] == sorted(names)
    assert {image.class_name for image in layout.images if "/p3/" in image.id} == {"dog"}


def test_a_name_that_ends_otherwise_is_an_image_too():
    names = ("cat/1.png", "cat/2", "cat/3.JPG", "dog/1.dat")
    assert [image.id for image in layout_of(*names).images] == sorted(names)


@pytest.mark.parametrize(
    "name", ["cat/notes.txt", "cat/labels.csv", "cat/README", "dog/1.xml", "cat/x/a.json"]
)
def test_notes_in_class_folders_are_skipped(name):
    layout = layout_of(*TREE, name)
    assert (layout.problems, layout.skipped, layout.tables) == ([], 1, ())
    assert [image.id for image in layout.images] == list(TREE)


def test_notes_do_not_hide_an_empty_class():
    assert [line.split(" (")[0] for line in lines_of(*TREE, "bird/notes.txt")] == ["bird: is an empty class"]


@pytest.mark.parametrize("name", ["labels.csv", "a.TSV", "meta.xlsx"])
@pytest.mark.parametrize("tree", [TREE, PARTS])
def test_a_table_beside_the_images_is_no_junk(tree, name):
    layout = layout_of(*tree, name)
    assert (layout.problems, layout.skipped) == ([], 0)
    assert [table.name for table in layout.tables] == [name]


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


@pytest.mark.parametrize("name", ["README", "readme.md", "LICENSE.txt", "index.html", "meta.JSON"])
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
    (line,) = [line for line in lines_of(*(f"{part}/{name}" for part in ("val", "test") for name in TREE))]
    assert line.startswith("train: is missing beside test, val")
    assert "training" in line
    assert "validation" in line


def test_images_without_labels_may_lie_anywhere():
    layout = list_unlabelled(
        entries_of(["1.png", "a/b/c/2.png", "README", "a/notes.txt", ".DS_Store", "a/"]), "scans", ["scans/x"]
    )
    assert [image.id for image in layout.images] == ["scans/1.png", "scans/a/b/c/2.png"]
    assert layout.problems == []
    assert [
        image.id for image in list_unlabelled(entries_of(["1.png", "2.png"]), "s", ["s/1.png"]).images
    ] == ["s/2.png"]
