"""Tables beside the images: which of them seem to hold the labels."""

import pytest

from medjax.data.reading.layout import ImageEntry
from medjax.data.reading.listing import Entry, Fault, Listing
from medjax.data.reading.tables import table_problems

IMAGES = [ImageEntry(f"{name}/{name}{i}.png", i, name) for name in ("cat", "dog") for i in range(4)]


def lines_of(data, name="meta.csv"):
    listing = Listing([], lambda keys: ((key, data) for key in keys))
    return [str(problem) for problem in table_problems(listing, [Entry(name, 9)], IMAGES)]


def rows(*labels, separator=",", suffix=".png", folder=""):
    names = [f"{folder}{image.id.split('/')[1].removesuffix('.png')}{suffix}" for image in IMAGES]
    return "\n".join(
        separator.join(row)
        for row in [
            ("n", "image", "label"),
            *((str(i), name, label) for i, (name, label) in enumerate(zip(names, labels, strict=True))),
        ]
    ).encode()


ELSEWHERE = ["mel", "nv"] * 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("suffix", "folder"), [("", ""), (".png", ""), (".jpg", "D:\\data\\"), (".png", "images/")]
)
def test_a_table_whose_rows_name_the_images_may_hold_their_labels(separator, suffix, folder):
    (line,) = lines_of(b"\xef\xbb\xbf" + rows(*ELSEWHERE, separator=separator, suffix=suffix, folder=folder))
    assert line.startswith("meta.csv: names the images in its rows, such as ")
    assert "--labels FILE" in line
    assert line.endswith("--ignore 'meta.csv')")


def test_a_table_that_says_what_the_folders_say_is_left_alone():
    assert lines_of(rows(*[image.class_name.title() for image in IMAGES])) == []


@pytest.mark.parametrize("separator", [",", " "])
def test_a_list_of_files_in_their_class_folders_is_left_alone(separator):
    data = "\n".join(f"D:/data/{image.id}{separator}train" for image in IMAGES).encode()
    assert lines_of(data, "list.txt") == []


def test_a_text_may_be_a_list_of_labels():
    data = "\n".join(
        f"{image.id.split('/')[1]} {label}" for image, label in zip(IMAGES, ELSEWHERE, strict=True)
    )
    (line,) = lines_of(data.encode(), "labels.txt")
    assert line.startswith("labels.txt: names the images in its rows")
    assert (
        lines_of(
            b"These images are of cats and dogs.\nThey were made by\ncat0 and others.\n\nCite us.\n",
            "README.txt",
        )
        == []
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a,b\n1,2\n",
        b"image,label\nother0,x\nother1,y\ncat0,z\n",
        b"image\0,label\n",
        b'"' + b"x" * 200_000,
        b"\xff\xfe\x00",
        b"a\n" * 50_000 + b"a," * 2_000_000,
        b"image\n" + b"," * 3_000_000 + b"cat0",
        Fault("cannot be read", "check it"),
    ],
)
def test_other_tables_are_left_alone(data):
    assert lines_of(data) == []


def test_a_list_of_some_images_is_left_alone():
    images = [ImageEntry(f"{name}/{name}{i}.png", i, name) for name in ("cat", "dog") for i in range(20)]
    listing = Listing([], lambda keys: ((key, b"image,why\ncat0,dark\ndog1,dark\n") for key in keys))
    assert list(table_problems(listing, [Entry("exclude.csv", 9)], images)) == []


def test_numbers_that_many_images_have_for_names_are_no_names():
    images = [ImageEntry(f"{name}/{i}.png", i, name) for name in ("cat", "dog") for i in range(4)]
    listing = Listing([], lambda keys: ((key, b"n,age\n0,41\n1,42\n2,43\n3,44\n") for key in keys))
    assert list(table_problems(listing, [Entry("meta.csv", 9)], images)) == []


def test_tables_of_spreadsheets_are_not_opened():
    listing = Listing([], lambda keys: pytest.fail("read"))
    assert list(table_problems(listing, [Entry("meta.xlsx", 9)], IMAGES)) == []
