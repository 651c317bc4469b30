"""Published sets as they are unpacked, made small: each is read by the settings that docs/published-sets.md gives."""

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.load import load
from medjax.errors import RefusedError
from tests.dicom_files import dicom
from tests.sample_files import png, random_pixels, write_folder


def build(root, names, **texts):
    """A folder of images of these names, all different, beside tables: file names with `_` for the dot."""
    write_folder(root, {name: png(seed) for seed, name in enumerate(names)})
    for name, lines in texts.items():
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return root


def read(source, **settings):
    return load(source, DataConfig(image_size=6, cache=False, group_duplicates="none", **settings))


def labels_of(dataset):
    names = [dataset.class_names[label] for label in dataset.labels]
    return dict(zip(dataset.ids.tolist(), names, strict=True))


def test_ham10000(tmp_path):
    names = [f"HAM10000_images_part_{1 + n // 4}/ISIC_{n:07}.jpg" for n in range(8)]
    rows = [
        f"HAM_{n // 2},ISIC_{n:07},{'nv' if n < 4 else 'mel'},histo,80.0,male,scalp,vidir" for n in range(8)
    ]
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    root = build(tmp_path / "ham", names, HAM10000_metadata=[header, *rows])
    dataset = read(root, labels=root / "HAM10000_metadata.csv")
    assert dataset.ids.tolist() == names
    assert [*labels_of(dataset).values()] == ["nv"] * 4 + ["mel"] * 4
    assert dataset.groups.tolist() == [f"HAM_{n // 2}" for n in range(8)]


def test_aptos(tmp_path):
    names = [
        *(f"train_images/{n:012x}.png" for n in range(5)),
        *(f"test_images/{n:012x}.png" for n in range(50, 53)),
    ]
    rows = [f"{n:012x},{n}" for n in range(5)]
    root = build(tmp_path / "aptos", names, train=["id_code,diagnosis", *rows], test=["id_code"])
    dataset = read(root, labels=root / "train.csv")
    assert dataset.class_names == ("0", "1", "2", "3", "4")
    assert dataset.labels.tolist() == [0, 1, 2, 3, 4]
    assert (dataset.table.images_beside, dataset.table.folders_beside) == (3, 1)


def test_isic_2018_task_3(tmp_path):
    folder = "ISIC2018_Task3_Training_Input"
    ids = [f"ISIC_{n:07}" for n in range(4)]
    truth = [
        "image,MEL,NV,BCC",
        *(f"{id},{float(n < 2)},{float(n == 2)},{float(n == 3)}" for n, id in enumerate(ids)),
    ]
    lesions = [
        "image,lesion_id,diagnosis_confirm_type",
        *(f"{id},HAM_{n // 2},histo" for n, id in enumerate(ids)),
    ]
    root = build(tmp_path / "isic", [f"{folder}/{id}.jpg" for id in ids], truth=truth, lesions=lesions)
    (root / folder / "LICENSE.txt").write_text("CC-BY-NC")
    dataset = read(root / folder, labels=root / "truth.csv", groups=root / "lesions.csv")
    assert [*labels_of(dataset).values()] == ["MEL", "MEL", "NV", "BCC"]
    assert dataset.groups.tolist() == ["HAM_0", "HAM_0", "HAM_1", "HAM_1"]


def test_isic_2020(tmp_path):
    header = (
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    )
    rows = [f"ISIC_{n},IP_{n // 2},male,45.0,torso,unknown,benign,{n % 2}" for n in range(4)]
    names = [f"train/ISIC_{n}.jpg" for n in range(4)] + ["test/ISIC_9.jpg"]
    root = build(tmp_path / "isic", names, train=[header, *rows])
    with pytest.raises(RefusedError, match="more than one may hold the labels: diagnosis, target"):
        read(root, labels=root / "train.csv")
    dataset = read(root, labels=root / "train.csv", label_column="target")
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.groups.tolist() == ["IP_0", "IP_0", "IP_1", "IP_1"]


def test_chexpert(tmp_path):
    """Paths in the table begin with the name of the folder; every file is called view1_frontal.jpg."""
    names = [f"train/patient0000{p}/study{s}/view1_frontal.jpg" for p in range(1, 4) for s in (1, 2)]
    valid = ["valid/patient64541/study1/view1_frontal.jpg"]
    values = ["1.0", "0.0", "-1.0", "", "0.0", "1.0"]
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Pleural Effusion"
    rows = [
        f"CheXpert-v1.0-small/{name},Female,68,Frontal,AP,1.0,{value}"
        for name, value in zip(names, values, strict=True)
    ]
    root = build(tmp_path / "CheXpert-v1.0-small", names + valid, train=[header, *rows])
    settings = {"labels": root / "train.csv", "label_column": "Pleural Effusion"}
    with pytest.raises(
        RefusedError, match=r"patient00002/study2/view1_frontal\.jpg: is an image without a label"
    ):
        read(root, **settings, uncertain="positive")
    settings["allow_missing"] = True
    with pytest.raises(RefusedError, match=r"--uncertain ignore, positive or negative"):
        read(root, **settings)
    with pytest.warns(
        UserWarning, match=r"seem to hold the patient.*--group-pattern '\(patient\\d\+\)/study"
    ):
        dataset = read(root, **settings, uncertain="ignore")
    assert [*labels_of(dataset).values()] == ["1", "0", "0", "1"]
    assert dataset.table.images_beside == 1
    dataset = read(root, **settings, uncertain="negative", group_pattern=r"(patient\d+)/study\d+")
    assert [*labels_of(dataset).values()] == ["1", "0", "0", "0", "1"]
    assert len({*dataset.groups.tolist()}) == 3


def test_chest_x_ray_14(tmp_path):
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"  # fmt: skip
    findings = ["No Finding", "Mass", "Mass", "No Finding"]
    rows = [
        f"0000000{n // 2}_00{n % 2}.png,{each},{n},{n // 2},58,M,PA,2682,2749,0.143,0.143,"
        for n, each in enumerate(findings)
    ]
    names = [f"images_0{1 + n:02}/images/0000000{n // 2}_00{n % 2}.png" for n in range(4)]
    root = build(tmp_path / "nih", names, Data_Entry_2017=[header, *rows])
    dataset = read(root, labels=root / "Data_Entry_2017.csv")
    assert [*labels_of(dataset).values()] == findings
    assert dataset.groups.tolist() == ["0", "0", "1", "1"]
    several = [row.replace("Mass", "Mass|Nodule") for row in rows]
    build(root, [], Data_Entry_2017=[header, *several])
    dataset = read(root, labels=root / "Data_Entry_2017.csv")
    assert dataset.class_names == ("Mass", "Nodule")
    assert dataset.labels.tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("suffix", ["dcm", "png"])
def test_rsna_pneumonia(tmp_path, suffix):
    """A row for each box of an image; in DICOM, as it is published, or as PNG."""
    header = "patientId,x,y,width,height,Target"
    rows = ["a,1,2,3,4,1", "a,5,6,7,8,1", "b,,,,,0", "c,,,,,0", "d,1,2,3,4,1"]
    names = [f"stage_2_train_images/{id}.{suffix}" for id in "abcd"] + [f"stage_2_test_images/e.{suffix}"]
    root = build(tmp_path / "rsna", names, stage_2_train_labels=[header, *rows])
    for seed, name in enumerate(names if suffix == "dcm" else []):
        (root / name).write_bytes(dicom(random_pixels(seed), "CR", PatientID=name[-5]))
    dataset = read(root, labels=root / "stage_2_train_labels.csv", image_column="patientId")
    assert [*labels_of(dataset).values()] == ["1", "0", "0", "1"]
    assert dataset.table.rows == 5
    assert (dataset.groups is None) == (suffix == "png")


def test_breakhis(tmp_path):
    names = [
        f"histology_slides/breast/{kind}/SOB/{tumor}/SOB_{letter}_A_14-2254{p}AB/40X/SOB_{letter}_A-14-2254{p}AB-40-00{n}.png"
        for kind, letter, tumor in (("benign", "B", "adenosis"), ("malignant", "M", "ductal_carcinoma"))
        for p in range(2)
        for n in range(2)
    ]
    root = build(tmp_path / "BreaKHis_v1", names)
    with pytest.warns(UserWarning, match="seem to hold the patient"):
        read(root, nested="ignore")
    dataset = read(root, nested="ignore", group_pattern=r"SOB_[BM]_[A-Z]+-(\d+-\d+[A-Z]*)-")
    assert dataset.class_names == ("benign", "malignant")
    assert len({*dataset.groups.tolist()}) == 2


def test_breakhis_by_its_table_of_folds(tmp_path):
    names = [f"BreaKHis_v1/breast/{'benign' if n < 4 else 'malignant'}/SOB_{n}.png" for n in range(8)]
    rows = [f"{1 + n % 2},{name},{'benign' if n < 4 else 'malignant'}" for n, name in enumerate(names)]
    root = build(tmp_path / "set", names, Folds=["fold,filename,label", *rows])
    dataset = read(root, labels=root / "Folds.csv")
    assert dataset.folds.tolist() == ["1", "2"] * 4


def test_idc(tmp_path):
    """Folders of patients around folders of classes: the class is in the name of the file."""
    names = [
        f"{p}/{c}/{p}_idx5_x{x}_y1001_class{c}.png"
        for p in (10253, 10254)
        for c in (0, 1)
        for x in (1001, 1051)
    ]
    root = build(tmp_path / "IDC_regular_ps50_idx5", names)
    pattern = r"(\d+)_idx"
    table = {"path": names, "label": [name.split("/")[1] for name in names]}
    dataset = load(root, DataConfig(image_size=6, cache=False, group_pattern=pattern), labels=table)
    assert dataset.class_names == ("0", "1")
    assert {*dataset.groups.tolist()} == {"10253", "10254"}


def test_covid_radiography(tmp_path):
    names = [
        f"{kind}/{folder}/{kind}-{n}.png"
        for kind in ("COVID", "Normal")
        for folder in ("images", "masks")
        for n in range(2)
    ]
    root = build(tmp_path / "COVID-19_Radiography_Dataset", names)
    for kind in ("COVID", "Normal"):
        (root / f"{kind}.metadata.xlsx").write_bytes(b"PK")
    dataset = read(root, nested="ignore", ignore=("masks",))
    assert dataset.class_names == ("COVID", "Normal")
    assert len(dataset.labels) == 4


def test_kaggle_chest_x_rays(tmp_path):
    names = [
        f"{part}/{kind}/{stem}{n}_0.jpeg"
        for part in ("train", "test", "val")
        for kind, stem in (("NORMAL", f"IM-{part}-"), ("PNEUMONIA", f"person{len(part)}_bacteria_"))
        for n in range(3)
    ]
    root = build(tmp_path / "chest_xray", [*names, *(f"chest_xray/{name}" for name in names)])
    settings = {"ignore": ("chest_xray",), "group_pattern": r"(person\d+)_"}
    dataset = read(root, **settings)
    assert len(dataset.labels) == len(names)
    assert np.unique(dataset.split).tolist() == ["test", "train", "val"]
    assert {"person5", "person4", "person3"} < {*dataset.groups.tolist()}


def test_oct2017(tmp_path):
    names = [
        f"{part}/{kind}/{kind}-10160{p}-{n}.jpeg"
        for part in ("train", "test")
        for kind in ("CNV", "DRUSEN")
        for p in range(2)
        for n in range(2)
    ]
    root = build(tmp_path / "OCT2017", names)
    with pytest.warns(UserWarning, match=r"--group-pattern '\(\?:CNV"):
        assert read(root).groups is None
    dataset = read(root, group_pattern=r"-(\d+)-\d+")
    assert len({*dataset.groups.tolist()}) == 2
