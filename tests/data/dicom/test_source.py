"""Data sets of DICOM files: folders of any depth, archives, tables, caches; nothing of a tag is written."""

import dataclasses

import numpy as np
import pytest

from medjax.config import DataConfig
from medjax.data.folders_out import export_split
from medjax.data.load import fingerprint, load
from medjax.data.load_images import load_images
from medjax.errors import RefusedError
from tests.dicom_files import dicom, wheel_file
from tests.sample_files import encode, png, write_folder, write_tar, write_zip

CONFIG = DataConfig(image_size=16, cache=False)


def image(seed: int, patient: str, modality: str = "MR", **tags) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 4096, (16, 16), dtype=np.uint16)
    return dicom(pixels, modality, bits=12, PatientID=patient, **tags)


def hospital(**tags) -> dict[str, bytes]:
    """Two classes of three patients, as a hospital exports them: names without suffix, in folders of patient and series."""
    return {
        f"{name}/PT{patient}/SE{series}/IM{number}": image(
            1000 * label + 100 * patient + 10 * series + number, f"Doe{label}{patient}", **tags
        )
        for label, name in enumerate(("cat", "dog"))
        for patient in range(3)
        for series in range(2)
        for number in range(2)
    }


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_images_of_one_patient_stay_together_however_deep_they_lie(write, tmp_path):
    data = load(
        write(
            tmp_path / "set.zip"
            if write is write_zip
            else tmp_path / "set.tar"
            if write is write_tar
            else tmp_path,
            hospital(),
        ),
        CONFIG,
    )
    assert data.class_names == ("cat", "dog")
    assert len(data.labels) == 24
    by_folder = np.array([id.rsplit("/", 2)[0] for id in data.ids])
    assert len({*zip(data.groups, by_folder, strict=True)}) == len({*data.groups}) == 6
    assert data.dicom == ("MR from each image's 1st to its 99th percentile", "PatientID", 8)
    assert data.counts.percentiles == 24
    assert data.grouped_by == ("user",)


def test_ct_needs_a_window_and_says_which(tmp_path):
    root = write_folder(tmp_path, hospital(modality="CT"))
    with pytest.raises(RefusedError, match="--window lung, bone, brain or soft"):
        load(root, CONFIG)
    data = load(root, dataclasses.replace(CONFIG, window="lung"))
    assert data.dicom.rule == "CT from -1350 to 150 HU"


def test_gray_levels_may_keep_sixteen_bits_and_wait_for_no_other_window(tmp_path, monkeypatch):
    """Beside PNGs of 16 bits, whose window is one for the set, in this process and in others, and from the cache."""
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 16, 16), dtype=np.uint16)
    tree = {f"a/{n}.dcm": dicom(each, bits=12) for n, each in enumerate(pixels[:3])}
    tree |= {f"b/{n}.png": encode(each) for n, each in enumerate(pixels[3:])}
    root = write_folder(tmp_path / "set", tree)
    config = dataclasses.replace(CONFIG, depth=16, window=(1000, 3000), cache=True)
    expected = np.rint(65535 * np.clip((pixels.astype(float) - 1000) / 2000, 0, 1))
    for _ in range(2):
        data = load(root, config)
        np.testing.assert_array_equal(data.images[..., 0], expected)
        assert (data.window.bits, data.dicom.bits) == (16, 16)
    monkeypatch.setattr("medjax.data.decoding.worker_pool.MIN_IMAGES_PER_WORKER", 2)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    np.testing.assert_array_equal(
        load(root, dataclasses.replace(config, cache=False)).images[..., 0], expected
    )


def test_the_cache_holds_groups_and_no_names(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    root = write_folder(tmp_path / "set", hospital())
    config = dataclasses.replace(CONFIG, cache=True)
    first = load(root, config)
    (entry,) = (tmp_path / "cache").iterdir()
    content = entry.read_bytes()
    assert b"Doe" not in content
    assert "Doe".encode("utf-32-le") not in content
    again = load(root, config)
    np.testing.assert_array_equal(again.groups, first.groups)
    assert again._replace(
        **dict.fromkeys(("images", "labels", "ids", "digests", "groups"))
    ) == first._replace(**dict.fromkeys(("images", "labels", "ids", "digests", "groups")))
    assert fingerprint(again) == fingerprint(first)


def test_groups_are_the_same_under_any_key(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "set", hospital())
    found = []
    for name in ("mine", "theirs"):
        monkeypatch.setenv("MEDJAX_KEY_DIR", str(tmp_path / name))
        data = load(root, CONFIG)
        found.append((data.groups.tolist(), fingerprint(data)))
    assert found[0] == found[1]
    assert not (tmp_path / "mine").exists()


def test_where_no_tag_tells_patients_apart_groups_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    tree = {f"{'ab'[n // 2]}/x{n}.dcm": image(n, "A", StudyInstanceUID="1.2") for n in range(4)}
    root, config = write_folder(tmp_path / "set", tree), dataclasses.replace(CONFIG, cache=True)
    for _ in range(2):  # from the cache, too
        with pytest.warns(
            UserWarning, match="set: PatientID and StudyInstanceUID are the same .* --groups FILE"
        ):
            assert load(root, config).groups is None
    (tmp_path / "groups.csv").write_text("id,group\n" + "".join(f"{id},{id}\n" for id in tree))
    load(root, dataclasses.replace(config, groups=str(tmp_path / "groups.csv")))  # a warning is an error here
    load(root, dataclasses.replace(config, group_pattern=r"x\d"))
    load(root, config, labels={"file": [*tree], "label": [0, 0, 1, 1], "patient": [1, 2, 3, 4]})


def test_anonymous_ids_are_no_paths_and_are_not_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    tree = hospital()
    root = write_folder(tmp_path / "set", {**tree, "cat/PT0/SE0/IM9": tree["cat/PT0/SE0/IM0"]})
    config = dataclasses.replace(CONFIG, cache=True, anonymous_ids=True)
    data = load(root, config)
    assert not (tmp_path / "cache").exists()
    assert len({*data.ids}) == 25
    assert all(len(name) == 16 and not {*name} - {*"0123456789abcdef"} for name in (*data.ids, *data.groups))
    assert load(root, config).ids.tolist() == data.ids.tolist()
    images = load_images([root], config)
    assert not any("PT" in id for id in images.ids)


def test_a_table_beside_adds_to_the_patients(tmp_path):
    tree = {f"scans/{n}.dcm": image(n, f"P{n // 2}") for n in range(8)}
    root = write_folder(tmp_path, tree)
    table = {"file": [*tree], "label": [n // 4 for n in range(8)], "lesion": [0, 1, 1, 2, 3, 4, 5, 6]}
    groups = load(root, CONFIG, labels={name: table[name] for name in ("file", "label")}).groups
    assert [*groups[::2]] == [*groups[1::2]]
    assert len({*groups}) == 4
    merged = load(root, CONFIG, labels=table).groups
    assert len({*merged[:4]}) == 1
    assert len({*merged}) == 3


def test_a_report_among_the_images_is_refused_by_name_and_can_be_left_out(tmp_path):
    root = write_folder(tmp_path, {**hospital(), "cat/PT0/SE9/IM0": wheel_file("test-SR.dcm")})
    with pytest.raises(
        RefusedError, match=r"cat/PT0/SE9/IM0: .*a structured report.*--ignore 'cat/PT0/SE9/IM0'"
    ):
        load(root, CONFIG)
    assert len(load(root, dataclasses.replace(CONFIG, ignore=("SE9",))).labels) == 24


def test_files_are_copied_by_patient(tmp_path):
    root = write_folder(tmp_path / "set", hospital())
    export_split(root, tmp_path / "out", 0.4, config=dataclasses.replace(CONFIG, anonymous_ids=True))
    parts = {
        part: {path.parts[-3] for path in (tmp_path / "out" / part / "cat").rglob("IM*")}
        for part in ("train", "test")
    }
    assert parts["train"] | parts["test"] == {"PT0", "PT1", "PT2"}
    assert not parts["train"] & parts["test"]


def test_single_files_are_read_without_labels(tmp_path):
    path = tmp_path / "IM0"
    path.write_bytes(image(1, "Doe"))
    (tmp_path / "x.png").write_bytes(png(0))
    found = load_images([path, tmp_path / "x.png"], CONFIG)
    assert found.images.shape == (2, 16, 16, 1)
    assert found.are_dicom
    assert not load_images([tmp_path / "x.png"], CONFIG).are_dicom
