"""The command line from outside: what it prints where, and how it ends."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from medjax import cli
from medjax.config import PRESETS
from medjax.errors import RefusedError
from medjax.settings import flags_for


def run_cli(*arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def test_train_prints_the_score_the_next_step_and_json_last(phantom_folder, tmp_path, capsys):
    status, out, err = run_cli(
        "train", phantom_folder, "--run", tmp_path / "run", "--epochs", 1, "--json", capsys=capsys
    )
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("test: accuracy ")
    assert f"medjax evaluate {tmp_path / 'run'}" in lines[-2]
    assert json.loads(lines[-1]) == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "120 images of 6 classes; 120 images resized" in err
    assert len([line for line in err.splitlines() if line.startswith("epoch 1/1: train loss")]) == 1


def test_columns_of_0_and_1_are_named_one_after_another():
    words = ["train", "x", "--labels", "t.csv", "--label-columns", "MEL", "NV", "a b", "--seed", "3"]
    config = cli._parse(words).config
    assert (config.data.label_columns, config.seed) == (("MEL", "NV", "a b"), 3)
    repeated = ["--label-columns", "MEL", "--label-columns", "NV", "--label-columns", "a b"]
    assert cli._parse([*words[:4], *repeated]).config.data == config.data


def test_evaluate_prints_the_same_block(trained_run, capsys):
    status, out, _ = run_cli("evaluate", trained_run.directory, "--json", capsys=capsys)
    assert status == 0
    assert json.loads(out.splitlines()[-1]) == {"test": trained_run.metrics["test"]}


def test_evaluate_of_another_split_reads_as_a_sentence(trained_run, capsys):
    status, out, _ = run_cli("evaluate", trained_run.directory, "--split", "val", capsys=capsys)
    assert status == 0
    assert out.startswith("val: accuracy ")


def test_predict_prints_csv(trained_run, phantom_folder, capsys):
    status, out, _ = run_cli("predict", trained_run.directory, phantom_folder / "Hand", capsys=capsys)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert len(rows) == 20
    names = trained_run.record["class_names"]
    assert list(rows[0]) == ["id", "predicted", *(f"p_{name}" for name in names), "outside_training_range"]
    for row in rows:
        probabilities = {name: float(row[f"p_{name}"]) for name in names}
        assert row["predicted"] == max(probabilities, key=probabilities.get)
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_predict_answers_for_every_sound_image_and_lists_the_others(
    trained_run, phantom_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    shutil.copytree(phantom_folder / "Hand", images)
    for number, path in enumerate(sorted(images.iterdir())[:15]):
        path.write_bytes(b"bad")
        (images / f"none{number}.png").write_bytes(b"bad")
    status, out, err = run_cli("predict", trained_run.directory, images, capsys=capsys)
    assert status == 2
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 5
    errors = [line for line in err.splitlines() if line.startswith("medjax: error: ")]
    assert len(errors) == 4
    assert errors[-1].endswith("… 30 problems in all; all are listed in medjax-problems.csv")
    listed = (tmp_path / "medjax-problems.csv").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 31


def test_predict_without_a_sound_image_prints_no_table(trained_run, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"bad")
    status, out, err = run_cli("predict", trained_run.directory, tmp_path / "bad.png", capsys=capsys)
    assert (status, out) == (2, "")
    assert "bad.png: is not a PNG, JPEG, TIFF, BMP or WebP image" in err


def test_explain_writes_maps_of_every_sound_image(trained_run, phantom_folder, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(phantom_folder / "Hand" / "synthetic-00000.png", images)
    (images / "bad.png").write_bytes(b"bad")
    out = tmp_path / "out"
    status, text, err = run_cli("explain", trained_run.directory, images, "--out", out, capsys=capsys)
    assert status == 2
    assert text.splitlines()[0] == f"1 map by grad-cam in {out}; a map is no proof"
    assert "bad.png: is not a PNG, JPEG, TIFF, BMP or WebP image" in err
    assert {path.suffix for path in out.iterdir()} == {".csv", ".npz", ".html", ".png"}
    assert len(list(out.glob("*.png"))) == 2
    status, _, err = run_cli("explain", trained_run.directory, images, "--out", out, capsys=capsys)
    assert status == 2
    assert "is not empty, and nothing is overwritten (choose another --out)" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "missing.zip"], "medjax: error: missing.zip: "),
        (["train", "phantom", "--epochs", "0"], "medjax: error: --epochs: 0 is out of range (1 to 9999)"),
        (["evaluate", "missing"], "medjax: error: missing/run.json: not found"),
        (["predict", "missing", "a.png"], "medjax: error: missing/run.json: not found"),
        (["explain", "missing", "a.png"], "medjax: error: missing/run.json: not found"),
    ],
)
def test_refusals_end_with_status_2_and_one_line(arguments, line, capsys):
    status, out, err = run_cli(*arguments, capsys=capsys)
    assert status == 2
    assert out == ""
    assert err.startswith(line)
    assert len(err.splitlines()) == 1


def test_a_used_run_directory_is_refused(trained_run, phantom_folder, capsys):
    before = sorted(trained_run.directory.rglob("*"))
    status, _, err = run_cli("train", phantom_folder, "--run", trained_run.directory, capsys=capsys)
    assert status == 2
    assert "is not empty" in err
    assert sorted(trained_run.directory.rglob("*")) == before


def test_usage_errors_end_with_status_2(capsys):
    for arguments in (
        ["train"],
        ["nothing"],
        [],
        *(["train", "phantom", "--preset", *name] for name in ([], ["x"])),
    ):
        assert run_cli(*arguments, capsys=capsys)[0] == 2


def test_divergence_ends_with_status_3(phantom_folder, tmp_path, capsys):
    status, _, err = run_cli(
        "train", phantom_folder, "--run", tmp_path / "run", "--learning-rate", "1e30", capsys=capsys
    )
    assert status == 3
    assert "medjax: error: training diverged" in err.splitlines()[-1]


@pytest.mark.parametrize("flag", ["-h", "--help", "--help-all"])
@pytest.mark.parametrize("command", ["train", "evaluate", None])
def test_help_goes_to_stdout(command, flag, capsys):
    status, out, err = run_cli(*([command] if command else []), flag, capsys=capsys)
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: medjax {command or 'COMMAND'} ")
    assert ("--plateau-factor" in out) == (command == "train" and flag == "--help-all")


def test_help_has_the_defaults_of_the_preset_and_needs_no_valid_one(capsys):
    assert "(default: 9)" in run_cli("train", "--preset", "fast", "--help", capsys=capsys)[1]
    text = run_cli("train", "--preset", "none", "--help", capsys=capsys)[1]
    assert "Passes over the training images. (default: by data)" in " ".join(text.split())


def test_an_unknown_option_is_refused_with_the_one_that_was_meant(capsys):
    status, out, err = run_cli("train", "phantom", "--lr", 1e-3, "--epochs", 1, capsys=capsys)
    assert (status, out) == (2, "")
    assert err == ("medjax: error: --lr: is not an option of medjax train (did you mean --learning-rate?)\n")


def test_crossval_prints_pooled_and_mean_scores_and_evaluate_one_fold(phantom_folder, tmp_path, capsys):
    line = ["crossval", phantom_folder, "--folds", 2, "--epochs", 1, "--run", tmp_path / "run", "--json"]
    status, out, err = run_cli(*line, capsys=capsys)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("out of fold: accuracy ")
    assert lines[1].startswith("over 2 folds: accuracy ")
    assert "not a confidence interval" in lines[1]
    metrics = json.loads(lines[-1])
    assert [fold["n"] for fold in metrics["folds"]] == [60, 60]
    assert "epoch 1/1: mean of 2 folds: train loss" in err
    status, out, _ = run_cli("evaluate", tmp_path / "run", "--fold", 1, "--json", capsys=capsys)
    assert json.loads(out.splitlines()[-1])["test"]["errors"] == metrics["folds"][1]["errors"]


def test_predict_takes_the_options_of_reading_with_the_defaults_of_the_run(
    trained_run, phantom_folder, capsys
):
    arguments = ["predict", trained_run.directory, phantom_folder / "Hand"]
    *_, out, _ = run_cli(*arguments, "--ignore", "*1.png", capsys=capsys)
    *_, everything, _ = run_cli(*arguments, capsys=capsys)
    assert 1 < len(out.splitlines()) < len(everything.splitlines())


def test_a_cross_validation_predicts_with_the_spread_of_its_folds(crossval_run, phantom_folder, capsys):
    status, out, _ = run_cli("predict", crossval_run.directory, phantom_folder / "Hand", capsys=capsys)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    names = crossval_run.record["class_names"]
    assert list(rows[0])[2:-1] == [f"{kind}_{name}" for kind in ("p", "sd") for name in names]
    _, each = crossval_run.predict_folds([phantom_folder / "Hand"])
    for row, values in zip(rows, each.std(axis=0, ddof=1), strict=True):
        assert [float(row[f"sd_{name}"]) for name in names] == pytest.approx(values.tolist())


def test_compare_says_what_changes_from_one_run_to_another(trained_run, crossval_run, capsys):
    line = ["compare", trained_run.directory, crossval_run.directory]
    status, out, _ = run_cli(*line, capsys=capsys)
    assert status == 0
    assert out.startswith("18 images in both (0 only in the first, 102 only in the second)\naccuracy ")
    assert "McNemar's exact p = " in out
    status, out, _ = run_cli(*line, "--json", capsys=capsys)
    compared = json.loads(out.splitlines()[-1])
    metrics = trained_run.metrics["test"]
    assert (compared["n"], compared["accuracy"][0]) == (18, metrics["accuracy"])


def test_split_lays_out_what_train_then_takes(phantom_folder, tmp_path, capsys):
    line = ["split", phantom_folder, tmp_path / "out", "--test", 0.25, "--color", "rgb"]
    status, out, _ = run_cli(*line, capsys=capsys)
    assert (status, out) == (0, f"next: medjax train {tmp_path / 'out'} --color rgb\n")
    assert len(list((tmp_path / "out" / "test").rglob("*.png"))) == 30
    status, _, err = run_cli("split", phantom_folder, tmp_path / "out", capsys=capsys)
    assert status == 2
    assert err.startswith(f"medjax: error: {tmp_path / 'out'}: ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--seed", 3], "--seed: has no effect beside --seeds (give one of them)"),
        (["--compare-grouping"], "--compare-grouping: is of a single run (leave --seeds out)"),
        (["--seeds", "x"], "--seeds: x is no list of numbers (such as 0-4, or 0,3,7)"),
        (["--resume"], "--resume: needs to know which run (name it: --run DIR)"),
    ],
)
@pytest.mark.parametrize("command", ["train", "crossval"])
def test_what_is_of_one_run_is_refused_beside_seeds(command, options, line, capsys):
    status, out, err = run_cli(command, "phantom", "--seeds", "0-1", *options, capsys=capsys)
    assert (status, out, err) == (2, "", f"medjax: error: {line}\n")


def test_seeds_print_a_line_each_and_one_for_all_and_json_last(phantom_folder, tmp_path, capsys):
    directory = tmp_path / "seeds"
    options = ["--seeds", "0,4", "--run", directory, "--epochs", 1, "--no-baselines", "--json"]
    status, out, err = run_cli("train", phantom_folder, *options, capsys=capsys)
    lines = out.splitlines()
    assert status == 0
    assert [line.partition(":")[0] for line in lines[:3]] == ["seed 0", "seed 4", "over 2 seeds"]
    assert json.loads(lines[-1]) == json.loads((directory / "metrics.json").read_text())
    assert "seed 4 (2 of 2)" in err.splitlines()
    for arguments in (
        ["evaluate", directory],
        ["predict", directory, phantom_folder],
        ["compare", directory, directory],
    ):
        status, out, err = run_cli(*arguments, capsys=capsys)
        assert (status, out) == (2, "")
        refusal = f"{directory}: holds runs of several seeds (name one: {directory / 'seed_0000'})"
        assert err == f"medjax: error: {refusal}\n"


def test_fetch_of_an_unknown_name_lists_the_names(capsys):
    status, _, err = run_cli("fetch", "nothing", capsys=capsys)
    assert status == 2
    assert "medical-mnist, " in err
    assert "retinamnist" in err


def test_crossval_has_the_defaults_of_the_reports_second_phase():
    command = cli._parse(["crossval", "x", "--preset", "report", "--folds", "4", "--seed", "2"])
    assert (command.config.folds, command.config.training.seed) == (4, 2)
    assert command.config.training.epochs == 10
    assert cli._parse(["crossval", "x", "--preset", "article"]).config.training.hidden_units == 0


def test_the_preset_gives_the_defaults_and_flags_override_it():
    command = cli._parse(
        ["train", "x", "--preset", "report", "--epochs", "3", "--fractions", "0.8", "0.1", "0.1"]
    )
    assert command.config.epochs == 3
    assert command.config.batch_size == 32
    assert command.config.fractions == (0.8, 0.1, 0.1)


@pytest.mark.parametrize("numbers", [(8,), (8, 16), (8, 16, 32)])
@pytest.mark.parametrize("preset", PRESETS)
def test_numbers_of_an_option_replace_the_presets_and_words_add_up(preset, numbers):
    options = ["--preset", preset, "--block-features", *map(str, numbers), "--ignore", "a", "--ignore", "b*"]
    train = cli._parse(["train", "x", *options]).config
    crossval = cli._parse(["crossval", "x", *options]).config.training
    for config in (train, crossval):
        assert config.block_features == numbers
        assert config.data.ignore == ("a", "b*")
    assert (
        cli._parse(["train", "x", "--preset", preset]).config.block_features == PRESETS[preset].block_features
    )


def test_names_of_augmentations_replace_the_presets():
    config = cli._parse(["train", "x", "--augmentations", "affine", "noise", "--rotation", "5"]).config
    assert config.augmentation.augmentations == ("affine", "noise")
    assert flags_for(config, cli._parse(["train", "x"]).config) == [
        *["--augmentations", "affine", "noise", "--rotation", "5.0"]
    ]


def test_settings_of_a_network_of_the_users_own_are_taken_word_by_word():
    line = ["train", "x", "--model", "networks.py:deep", "--model-set", "depth=18", "--model-set", "name=a b"]
    config = cli._parse(line).config
    assert (config.model, config.model_set) == ("networks.py:deep", ("depth=18", "name=a b"))


@pytest.mark.parametrize(
    "line", [["evaluate", "run"], ["predict", "run", "a.png"], ["explain", "run", "a.png"]]
)
def test_a_run_is_restored_with_the_network_that_is_named(line, monkeypatch):
    registry = types.ModuleType("medjax.models.registry")
    registry.load_model = lambda spec, settings: (spec, settings)
    monkeypatch.setitem(sys.modules, "medjax.models.registry", registry)
    monkeypatch.setattr("medjax.load_run", lambda directory, model=None: (directory, model), raising=False)
    command = cli._parse([*line, "--model", "networks.py:deep", "--model-set", "depth=18"])
    assert cli._load_run(command) == (Path("run"), ("networks.py:deep", ("depth=18",)))
    assert cli._load_run(cli._parse(line)) == (Path("run"), None)
    with pytest.raises(RefusedError, match=r"^--model-set: no network is named"):
        cli._load_run(cli._parse([*line, "--model-set", "depth=18"]))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_with_its_status_and_the_checkpoint_kept(number, status, phantom_folder, tmp_path):
    command = [sys.executable, "-m", "medjax", "train", str(phantom_folder), "--epochs", "9999"]
    command += ["--run", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        sent = time.monotonic()
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == status
    assert time.monotonic() - sent < 20  # five seconds are promised; a busy machine gets more
    assert "every epoch that was finished is kept in" in rest
    assert f"continue with: medjax train {phantom_folder}" in rest
    assert "Traceback" not in rest
    assert list((tmp_path / "run" / "checkpoints" / "fold_00").glob("*.sha256"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"


def test_a_reader_that_leaves_early_is_no_error(trained_run, phantom_folder):
    command = [
        sys.executable,
        "-m",
        "medjax",
        "predict",
        str(trained_run.directory),
        *[str(phantom_folder)] * 200,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    assert error == ""
    assert process.returncode == 0
