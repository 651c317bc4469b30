"""`medjax audit`, and the leakage that every run records: planted duplicates are found, and kept together if asked."""

import dataclasses
import json
import shlex

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax import cli
from medjax.config import PRESETS, CrossvalConfig, DataConfig
from medjax.csv_text import read_csv
from medjax.data.load import load
from medjax.errors import RefusedError
from tests.finished_runs import read_predictions
from tests.sample_files import encode, medmnist_arrays, png, random_pixels, small_set, write_folder, write_npz

SHORT = dataclasses.replace(PRESETS["report"], epochs=1)


@pytest.fixture(scope="module")
def copied_folder(tmp_path_factory):
    """Two classes of 24 different images, four of each of which are there three times: 16 redundant ones."""
    tree = small_set(24)
    for name in ("cat", "dog"):
        tree |= {
            f"{name}/{number:02}-{copy}.png": tree[f"{name}/{number}.png"]
            for number in range(4)
            for copy in range(2)
        }
    return write_folder(tmp_path_factory.mktemp("data") / "copied", tree)


def run_audit(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["audit", *map(str, arguments)])
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def test_an_audit_lists_what_it_left_out(tmp_path):
    root = write_folder(tmp_path / "set", {**small_set(12), "cat/bad.png": b"bad"})
    config = DataConfig(image_size=6, skip_bad=True, max_bad=0.1, cache=False)
    with pytest.warns(UserWarning, match="1 of 25 images"):
        found = medjax.audit(root, config, out=tmp_path / "audit")
    assert found["data"]["loading"]["bad"] == 1
    assert "cat/bad.png" in (tmp_path / "audit" / "skipped.csv").read_text()


def test_the_audit_of_a_folder(copied_folder, tmp_path, capsys):
    options = ["--group-duplicates", "none", "--out", tmp_path / "audit", "--json"]
    status, out, err = run_audit(capsys, copied_folder, *options)
    assert status == 0
    found = json.loads(out.splitlines()[-1])
    assert found == json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert found["exact_duplicates"] == {"redundant": 16, "groups": 8, "conflicting": 0}
    assert found["exact_by_class"] == {"cat": 8, "dog": 8}
    assert found["conflicts"] == []
    assert found["near_duplicates"]["redundant"] == 16
    assert found["near_duplicates"]["largest"] == 3
    assert found["near_duplicates"]["sizes"]["3-5"] == 8
    assert found["leakage"]["level"] == "image"
    assert "no patient identifiers" in found["leakage"]["statement"]
    assert sum(sum(part.values()) for part in found["data"]["counts"].values()) == 64
    with Image.open(tmp_path / "audit" / "figures" / "duplicates.png") as picture:
        assert picture.size[0] > 400
    picture, table = (tmp_path / "audit" / name for name in ("figures/duplicates.png", "near_duplicates.csv"))
    command = f"medjax train {copied_folder}"  # which keeps identical images together
    assert out.splitlines()[-2] == f"next: look at {picture} and {table}; then {command}"
    assert "64 images of 2 classes" in err


def test_every_image_of_every_group_is_named(tmp_path):
    """Two near-duplicates, and three images of which two are identical; a comma in a class name."""
    image, other = random_pixels(0, (8, 8)) // 2, random_pixels(1, (8, 8)) // 2
    tree = {f"cat, big/{number}.png": png(number, (8, 8)) for number in range(2, 8)}
    tree |= {f"dog/{number}.png": png(number, (8, 8)) for number in range(10, 16)}
    tree |= {"cat, big/b.png": encode(image), "cat, big/a.png": encode((image + 1).astype(np.uint8))}
    tree |= {
        f"dog/{name}.png": encode((other + by).astype(np.uint8))
        for name, by in (("x", 0), ("y", 0), ("z", 1))
    }
    medjax.audit(write_folder(tmp_path / "set", tree), DataConfig(image_size=8), out=tmp_path / "audit")
    with (tmp_path / "audit" / "near_duplicates.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(read_csv(lines))
    assert [(row["group"], row["id"], row["class"], row["identical"]) for row in rows] == [
        ("0", "dog/x.png", "dog", "0"),
        ("0", "dog/y.png", "dog", "0"),
        ("0", "dog/z.png", "dog", ""),
        ("1", "cat, big/a.png", "cat, big", ""),
        ("1", "cat, big/b.png", "cat, big", ""),
    ]
    assert {row["part"] for row in rows} <= {"train", "val", "test"}


def test_the_next_command_repeats_the_options(copied_folder, tmp_path, capsys):
    """Pasted into a shell, it reads the data as the audit did."""
    ids = sorted(str(path.relative_to(copied_folder)) for path in copied_folder.rglob("*.png"))
    table = tmp_path / "my groups.csv"
    table.write_text("scan;patient\n" + "".join(f"{id};P{number // 4}\n" for number, id in enumerate(ids)))
    options = [
        "--groups",
        str(table),
        "--image-column",
        "scan",
        "--group-column",
        "patient",
        "--ignore",
        "*.tif",
    ]
    status, out, _ = run_audit(capsys, copied_folder, *options, "--image-size", "8", "--seed", "3")
    assert status == 0
    words = shlex.split(out.splitlines()[-1].removeprefix("next: "))
    assert words[:3] == ["medjax", "train", str(copied_folder)]
    given = cli._parse(words[1:])
    assert given.config.seed == 3
    data = given.config.data
    assert data.group_duplicates in ("exact", "none")
    assert dataclasses.replace(data, group_duplicates="none") == dataclasses.replace(
        PRESETS["report"].data,
        groups=str(table),
        image_column="scan",
        group_column="patient",
        ignore=("*.tif",),
        image_size=8,
    )


@pytest.mark.slow
def test_the_split_that_is_audited_is_the_one_that_train_draws(copied_folder, tmp_path):
    """Compared by digests with what the run holds."""
    dataset = load(copied_folder)
    for kind in ("none", "exact"):
        data = dataclasses.replace(SHORT.data, group_duplicates=kind)
        run = medjax.train(
            copied_folder, dataclasses.replace(SHORT, data=data, seed=3), run_dir=tmp_path / kind
        )
        found = medjax.audit(copied_folder, data, seed=3)
        assert run.record["data"]["leakage"] == found["leakage"]
        assert run.record["data"]["counts"] == found["data"]["counts"]
        digest = dict(zip(dataset.ids.tolist(), map(bytes, dataset.digests), strict=True))
        held_back = {row["id"]: row["split"] for row in read_predictions(run)}
        trained = {digest[id] for id in digest.keys() - held_back.keys()}
        for part in ("val", "test"):
            ids = [id for id, each in held_back.items() if each == part]
            assert found["leakage"][part]["n"] == len(ids)
            assert found["leakage"][part]["exact"] == sum(digest[id] in trained for id in ids)
        assert (found["leakage"]["test"]["exact"] > 0) == (kind == "none")
        groups = run.record["data"]["groups"]
        assert groups is None if kind == "none" else groups["sources"] == ["exact"]
        assert run.evaluate() == {"test": run.metrics["test"]}
        again = medjax.train(
            copied_folder, dataclasses.replace(SHORT, data=data, seed=3), run_dir=tmp_path / kind, resume=True
        )
        assert again.record["data"] == run.record["data"]


def test_folds_keep_duplicates_and_patients_together(copied_folder, tmp_path):
    """Patients of the groups file are joined where they share a copy."""
    ids = load(copied_folder).ids.tolist()
    rows = "".join(f"{id},P{number // 2}\n" for number, id in enumerate(ids))
    (tmp_path / "groups.csv").write_text(f"id,group\n{rows}")
    data = DataConfig(groups=str(tmp_path / "groups.csv"), group_duplicates="near")
    training = dataclasses.replace(SHORT, data=data)
    run = medjax.cross_validate(
        copied_folder, CrossvalConfig(folds=3, training=training), run_dir=tmp_path / "run"
    )
    leakage = run.record["data"]["leakage"]
    assert run.record["data"]["groups"]["sources"] == ["user", "near"]
    assert leakage["level"] == "group"
    assert (leakage["test"]["n"], leakage["test"]["exact"], leakage["test"]["near"]) == (64, 0, 0)
    assert "val" not in leakage
    fold_of = {row["id"]: row["fold"] for row in read_predictions(run)}
    for number in range(0, len(ids), 2):
        assert fold_of[ids[number]] == fold_of[ids[number + 1]]
    assert run.evaluate(fold=1)["test"]["n"] == run.metrics["folds"][1]["n"]


def test_twins_over_official_parts_are_counted_whatever_is_grouped(tmp_path):
    arrays = medmnist_arrays(8)
    arrays["test_images"][0], arrays["test_labels"][0] = arrays["train_images"][2], arrays["train_labels"][2]
    arrays["test_images"][1], arrays["test_labels"][1] = (
        arrays["train_images"][3],
        1 - arrays["train_labels"][3],
    )
    source = write_npz(tmp_path / "parts.npz", arrays)
    with pytest.warns(UserWarning, match="2 images have the same pixels"):
        found = medjax.audit(source, DataConfig(image_size=8))
    leakage = found["leakage"]
    assert (leakage["test"]["n"], leakage["test"]["exact"]) == (8, 2)
    assert leakage["groups_across_parts"] == {
        "n": 2,
        "named": {"test/000000": ["test", "train"], "test/000001": ["test", "train"]},
    }
    assert found["exact_duplicates"] == {"redundant": 2, "groups": 2, "conflicting": 2}
    assert found["conflicts"] == [["test/000001", "train/000003"]]
    with pytest.warns(UserWarning, match="2 images have the same pixels"):
        plain = medjax.audit(source, DataConfig(image_size=8, group_duplicates="none"))
    assert plain["leakage"]["groups_across_parts"] == {"n": 0, "named": {}}
    assert plain["leakage"]["test"] == leakage["test"]


@pytest.mark.slow
def test_kept_test_images_are_compared_with_all_that_is_trained_on(tmp_path):
    arrays = medmnist_arrays(8)
    arrays["test_images"][0], arrays["test_labels"][0] = arrays["val_images"][2], arrays["val_labels"][2]
    source = write_npz(tmp_path / "parts.npz", arrays)
    training = dataclasses.replace(SHORT, data=DataConfig(image_size=12))
    config = CrossvalConfig(folds=2, keep_test=True, training=training)
    leakage = medjax.cross_validate(source, config, run_dir=tmp_path / "run").record["data"]["leakage"]
    assert (leakage["official_test"]["n"], leakage["official_test"]["exact"]) == (8, 1)
    assert (leakage["test"]["n"], leakage["test"]["exact"]) == (16, 0)
    assert leakage["groups_across_parts"]["n"] == 1


def test_data_that_cannot_be_split_are_audited_all_the_same(tmp_path, capsys):
    tree = {**small_set(2), "dog/copy.png": small_set(2)["dog/0.png"]}
    options = ["--group-duplicates", "none", "--json"]
    status, out, _ = run_audit(capsys, write_folder(tmp_path / "few", tree), *options)
    assert status == 0
    found = json.loads(out.splitlines()[-1])
    assert found["exact_duplicates"]["redundant"] == 1
    assert found["leakage"]["refused"] == [
        "class cat: 2 images cannot be split into 3 parts (each class needs at least 3)"
    ]
    assert "no split: class cat" in out


def test_the_threshold_is_a_setting(tmp_path):
    image = random_pixels(0, (8, 8)) // 2
    tree = small_set(4) | {f"cat/brighter-{by}.png": encode((image + by).astype(np.uint8)) for by in (0, 3)}
    source = write_folder(tmp_path / "set", tree)
    counts = [
        medjax.audit(source, DataConfig(image_size=8, near_threshold=limit))["near_duplicates"]["redundant"]
        for limit in (2.9, 3.0)
    ]
    assert counts == [0, 1]
    with pytest.raises(RefusedError, match=r"--near-threshold: -1\.0 is out of range"):
        medjax.audit(source, DataConfig(near_threshold=-1.0))


def test_a_directory_in_use_is_refused_before_anything_is_read(copied_folder, tmp_path, capsys):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "notes.txt").write_text("mine")
    status, out, err = run_audit(capsys, copied_folder, "--out", tmp_path / "audit")
    assert (status, out) == (2, "")
    assert err.startswith(f"medjax: error: {tmp_path / 'audit'}: is not empty")
    status, _, err = run_audit(capsys, copied_folder, "--out", tmp_path / "audit" / "notes.txt")
    assert status == 2
    assert "cannot be made" in err


@pytest.mark.slow
def test_the_audit_of_medical_mnist(medical_mnist, capsys):
    status, out, _ = run_audit(capsys, medical_mnist, "--group-duplicates", "none", "--json")
    found = json.loads(out.splitlines()[-1])
    assert status == 0
    assert found["exact_duplicates"] == {"redundant": 440, "groups": 348, "conflicting": 0}
    assert found["exact_by_class"] | {"AbdomenCT": 346, "HeadCT": 93, "CXR": 1} == found["exact_by_class"]
    test = found["leakage"]["test"]
    assert 0.005 < test["exact"] / test["n"] < 0.02
    assert 0.10 < test["near"] / test["n"] < 0.13
