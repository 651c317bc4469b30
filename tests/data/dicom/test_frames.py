"""Files of several frames as several images."""

import dataclasses

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.folders_out import export_split
from medjax.data.load import load
from medjax.data.load_images import load_images
from medjax.data.splitting.splits import k_fold
from medjax.errors import RefusedError
from tests.dicom_files import encode_dicom, make_dataset, ramp
from tests.sample_files import png, write_folder, write_zip

CONFIG = DataConfig(image_size=16, cache=False, frames="all")


def film(seed: int, frames: int, patient: str, **tags) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 4096, (frames, 16, 16), dtype=np.uint16)
    dataset = make_dataset(pixels[0], bits=12, PatientID=patient, NumberOfFrames=frames, **tags)
    dataset.PixelData = pixels.tobytes()
    return encode_dicom(dataset)


TREE = {
    "cat/a.dcm": film(0, 11, "A"),
    "cat/b": film(1, 1, "B"),
    "dog/c": film(2, 3, "C"),
    "dog/d": film(3, 2, "A"),
}


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_each_frame_is_an_image_of_the_same_patient(write, tmp_path):
    root = write(tmp_path / "set.zip" if write is write_zip else tmp_path, TREE)
    data = load(root, CONFIG)
    assert data.ids.tolist()[:3] == ["cat/a.dcm#00", "cat/a.dcm#01", "cat/a.dcm#02"]
    assert data.ids.tolist()[11:] == ["cat/b", "dog/c#0", "dog/c#1", "dog/c#2", "dog/d#0", "dog/d#1"]
    assert np.bincount(data.labels).tolist() == [12, 5]
    assert len({*data.groups}) == 3
    middle = load(root, dataclasses.replace(CONFIG, frames="middle"))
    np.testing.assert_array_equal(middle.images[0], data.images[5])
    assert len(np.unique(data.digests, axis=0)) == 17


def test_frames_of_a_file_are_never_on_both_sides_where_no_tag_tells_patients(tmp_path):
    films = ("cat/a.dcm", "cat/b.dcm", "dog/c.dcm", "dog/d.dcm")
    root = write_folder(
        tmp_path, {name: film(seed, 5, "", StudyInstanceUID="") for seed, name in enumerate(films)}
    )
    table = {"file": [*films], "label": [0, 0, 1, 1]}
    for labels in (None, table):
        with pytest.warns(UserWarning, match="PatientID and StudyInstanceUID are the same"):
            data = load(root, CONFIG, labels=labels)
        assert (data.grouped_by, data.dicom.grouped_by) == (("frames",), None)
        file_of = np.array([id.partition("#")[0] for id in data.ids])
        for seed in range(4):
            one, other = k_fold(data.labels, 2, groups=data.groups, seed=seed)
            assert {*file_of[one]}.isdisjoint(file_of[other])


def test_a_table_labels_all_frames_of_a_file(tmp_path):
    root = write_folder(tmp_path, {**TREE, "dog/e.png": png(0, (16, 16))})
    files = [*TREE, "dog/e.png"]
    table = {"file": files, "label": [0, 1, 0, 1, 1], "lesion": [1, 2, 3, 4, 5]}
    data = load(root, CONFIG, labels=table)
    assert data.labels.tolist() == [0] * 11 + [1] + [0] * 3 + [1] * 3
    assert len({*data.groups}) == 4


def test_single_files_have_frames_too(tmp_path):
    path = write_folder(tmp_path, TREE) / "dog" / "c"
    assert load_images([path], CONFIG).ids.tolist() == [f"{path}#{frame}" for frame in range(3)]


def test_more_frames_than_there_are_and_copies_of_files_are_refused(tmp_path):
    root = write_folder(
        tmp_path / "set", {**TREE, "dog/f": film(4, 2, "F").replace(b"IS\2\0" + b"2 ", b"IS\2\0" + b"9 ")}
    )
    with pytest.raises(RefusedError, match="dog/f#0: is a DICOM file with fewer pixels"):
        load(root, CONFIG)
    many = write_folder(tmp_path / "many", {"dog/g": make_claim()})
    with pytest.raises(RefusedError, match="at most 10,000"):
        load_images([many], CONFIG)
    with pytest.raises(RefusedError, match="--frames"):
        export_split(root, tmp_path / "out", 0.5, config=CONFIG)


def make_claim() -> bytes:
    return encode_dicom(make_dataset(ramp(), NumberOfFrames=2**31 - 1))
