"""What columns mean, by the headers of published tables."""

import pytest

from medjax.config import ReadingConfig
from medjax.data.tables.columns import Columns
from medjax.data.tables.read_labels import read_labels
from medjax.errors import RefusedError

HAM10000 = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
CHEST_X_RAY_14 = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
ISIC_2020 = (
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
)
CHEXPERT = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Pleural Effusion"
RSNA = "patientId,x,y,width,height,Target"


def columns_of(header, **settings):
    names = header.split(",")
    table = {name: [f"{name} {row}" for row in range(3)] for name in names}
    return read_labels(table, ReadingConfig(**settings)).columns


@pytest.mark.parametrize(
    ("header", "settings", "columns"),
    [
        (HAM10000, {}, ("image_id", ("dx",), "lesion_id", None)),
        ("id_code,diagnosis", {}, ("id_code", ("diagnosis",), None, None)),
        (CHEST_X_RAY_14, {}, ("Image Index", ("Finding Labels",), "Patient ID", None)),
        ("image,level", {}, ("image", ("level",), None, None)),
        ("id,label", {}, ("id", ("label",), None, None)),
        (ISIC_2020, {"label_column": "target"}, ("image_name", ("target",), "patient_id", None)),
        (CHEXPERT, {"label_column": "Cardiomegaly"}, ("Path", ("Cardiomegaly",), None, None)),
        (RSNA, {"image_column": "patientId"}, ("patientId", ("Target",), None, None)),
        ("fold,mag,grp,filename,class", {}, ("filename", ("class",), None, "fold")),
        ("id,filename,label,patient,split", {}, ("filename", ("label",), "patient", "split")),
        (
            "id,filename,label,patient,split",
            {"group_column": "none", "part_column": "none"},
            ("filename", ("label",), None, None),
        ),
        ("id,label,patient", {"groups": "other.csv"}, ("id", ("label",), None, None)),
    ],
    ids=[
        *("ham10000", "aptos", "chest-x-ray-14", "eyepacs", "pcam", "isic", "chexpert", "rsna", "breakhis"),
        *("own", "none-wanted", "groups-elsewhere"),
    ],
)
def test_columns_that_are_taken(header, settings, columns):
    found = columns_of(header, **settings)
    assert found == Columns(*columns)
    assert set(found.taken) == {found.image, *found.labels, found.group, found.part} - {None}


@pytest.mark.parametrize(
    ("header", "settings", "message"),
    [
        (RSNA, {}, "none is known to hold the images; its columns are patientId, x.*--image-column"),
        (ISIC_2020, {}, "more than one may hold the labels: diagnosis, target; its columns are .*--label-column"),
        (CHEXPERT, {}, "none is known to hold the labels; .*--label-column NAME, or --label-columns"),
        ("id,label,patient,lesion_id", {}, "more than one may hold the groups .*: patient, lesion_id"),
        ("id,label,split,fold", {}, "more than one may hold the parts: split, fold.*--part-column none"),
        ("file,path,label", {}, "more than one may hold the images: file, path"),
        ("id,label", {"label_column": "dx"}, "has no column dx; it has id, label .*--label-column"),
        ("id,label", {"part_column": "x"}, "has no column x; .*--part-column"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_with_the_columns(header, settings, message):
    with pytest.raises(RefusedError, match=f"^labels: {message}"):
        columns_of(header, **settings)
