"""Tables that name DICOM images by a tag."""

import pytest

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.errors import RefusedError
from tests.dicom_files import dicom, ramp
from tests.sample_files import png, write_folder

CONFIG = DataConfig(image_size=4, cache=False)


@pytest.fixture
def root(tmp_path):
    """Four images of two patients, of one study each, in folders that say nothing."""
    tree = {
        f"S{n // 2}/IM{n}.dcm": dicom(
            ramp() + n, SOPInstanceUID=f"1.2.{n}", StudyInstanceUID=f"1.3.{n // 2}", PatientID=f"Doe{n // 2}"
        )
        for n in range(4)
    }
    return write_folder(tmp_path, tree)


@pytest.mark.parametrize(
    ("column", "values", "option"),
    [
        ("SOPInstanceUID", [f"1.2.{n}" for n in range(4)], None),
        ("StudyInstanceUID", ["1.3.0", "1.3.1"], "StudyInstanceUID"),
        ("PatientID", ["Doe0", "Doe1"], "PatientID"),
        ("image", ["1.3.0", "1.3.1"], None),
    ],
)
def test_a_row_is_of_all_images_with_the_value(root, column, values, option):
    table = {column: values, "label": [n * 2 // len(values) for n in range(len(values))]}
    data = load(root, DataConfig(image_size=4, cache=False, image_column=option), labels=table)
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.table.image_column == column
    assert len({*data.groups}) == 2


def test_names_of_files_come_first(root):
    table = {"image": [f"IM{n}.dcm" for n in range(4)], "label": [0, 1, 1, 0]}
    assert load(root, CONFIG, labels=table).labels.tolist() == [0, 1, 1, 0]


def test_rows_without_an_image_are_refused_without_their_value(root):
    table = {"PatientID": ["Doe0", "Doe1", "Smith"], "label": [0, 1, 1]}
    with pytest.raises(RefusedError, match="id 3 of labels: has a row in labels") as refusal:
        load(root, DataConfig(image_size=4, cache=False, image_column="PatientID"), labels=table)
    assert "Smith" not in str(refusal.value)


def test_a_column_of_patients_that_matches_nothing_is_refused_without_their_names(root):
    table = {"PatientID": ["Smith", "Jones"], "label": [0, 1]}
    with pytest.raises(RefusedError, match="id 1 of labels") as refusal:
        load(root, DataConfig(image_size=4, cache=False, image_column="PatientID"), labels=table)
    assert "Smith" not in str(refusal.value)
    assert "Jones" not in str(refusal.value)


def test_images_of_other_formats_are_not_looked_into(tmp_path):
    root = write_folder(tmp_path, {"a.png": png(0), "b.png": png(1)})
    with pytest.raises(RefusedError, match="names none of the images"):
        load(root, CONFIG, labels={"image": ["1.2", "1.3"], "label": [0, 1]})


def test_files_without_a_suffix_that_no_row_names_are_images_all_the_same(root):
    write_folder(root, {"S0/IM9": dicom(ramp() + 9), "S0/index": b"no image"})
    table = {"image": [f"IM{n}.dcm" for n in range(4)], "label": [0, 1, 1, 0]}
    with pytest.raises(RefusedError, match="S0/IM9: is an image without a row") as refusal:
        load(root, CONFIG, labels=table)
    assert len(refusal.value.problems) == 1
