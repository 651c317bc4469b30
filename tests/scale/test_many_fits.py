"""Folds and seeds by workers: the very result of one process, whatever happens to a worker on the way."""

import filecmp
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import medjax
from medjax.config import CrossvalConfig, StoppingConfig
from medjax.errors import DivergedError, RefusedError
from medjax.jobs.seeds import train_seeds
from medjax.jobs.train import cross_validate, train
from medjax.scale.many_fits import fit_many, open_directory
from medjax.scale.worker import do_fit
from tests.configs import plain
from tests.finished_runs import assert_same_result, read_history
from tests.interrupted import interrupt_after
from tests.scale.here import Here, use

# Folds that stop after different numbers of epochs.
STOPPING = plain(
    epochs=4,
    baselines=False,
    keep="best",
    early_stopping=True,
    stopping=StoppingConfig(stop_patience=0, stop_min_delta=0.02),
)
CONFIG = CrossvalConfig(folds=3, fold_strategy="loop", training=STOPPING)
FOLDS = ["fold_00", "fold_01", "fold_02"]


@pytest.fixture(scope="module")
def whole(phantom_folder, tmp_path_factory):
    """The cross-validation of one process."""
    return cross_validate(phantom_folder, CONFIG, run_dir=tmp_path_factory.mktemp("whole") / "run")


def test_folds_by_workers_are_those_of_one_process(whole, phantom_folder, tmp_path, monkeypatch):
    engine = use(monkeypatch, Here())
    run = fit_many(phantom_folder, CONFIG, run_dir=tmp_path / "run")
    assert engine.asked == [*FOLDS, "whole"]
    assert len({fold["epochs"] for fold in whole.metrics["folds"]}) > 1  # or the test would show less
    assert_same_result(run, whole)
    timeless = [[{**row, "seconds": ""} for row in read_history(each)] for each in (whole, run)]
    assert timeless[0] == timeless[1]
    assert run.record["config"] == whole.record["config"]
    assert run.record["machine"]["threads"] >= 1
    assert run.evaluate(fold=1)["test"]["errors"] == whole.metrics["folds"][1]["errors"]
    # The checkpoints of folds are not kept twice.
    assert sorted(path.name for path in (tmp_path / "run" / "fits").iterdir()) == [
        ".lock", *(f"{name}.json" for name in FOLDS), "whole.json",
    ]  # fmt: skip


def test_a_fit_that_is_lost_is_done_again_from_its_last_checkpoint(
    whole, phantom_folder, tmp_path, monkeypatch
):
    lost = []

    def lose_once(path):
        if path.stem == "fold_01" and not lost:
            lost.append(path)
            with monkeypatch.context() as patch:
                interrupt_after(patch, 0, RuntimeError("the machine is gone"))
                with pytest.raises(RuntimeError):
                    do_fit(path)
            raise _LostError

    class Fragile(Here):
        def run(self, fits, tell):
            for path in fits:
                try:
                    super().run([path], tell)
                except _LostError:
                    tell(path)

    engine = use(monkeypatch, Fragile(lose_once))
    run = fit_many(phantom_folder, CONFIG, run_dir=tmp_path / "run")
    assert engine.asked == [*FOLDS, "fold_01", "whole"]
    assert_same_result(run, whole)


class _LostError(Exception):
    pass


def test_all_of_it_is_stopped_and_continued(whole, phantom_folder, tmp_path, monkeypatch, capsys):
    def stop(path):
        if path.stem == "fold_01":
            raise KeyboardInterrupt

    options = {"run_dir": tmp_path / "run", "resume": True}
    use(monkeypatch, Here(stop))
    with pytest.raises(KeyboardInterrupt):
        fit_many(phantom_folder, CONFIG, **options, command="medjax crossval x --on local", is_quiet=False)
    assert (
        f"continue with: medjax crossval x --on local --run {tmp_path / 'run'} --resume"
        in capsys.readouterr().err
    )
    with pytest.raises(RefusedError, match=r"was begun by several processes \(continue it by them: --on"):
        cross_validate(phantom_folder, CONFIG, **options)
    other = CrossvalConfig(folds=3, training=plain(epochs=1, baselines=False))
    with pytest.raises(RefusedError, match=r"fold_00.json: was begun with other settings"):
        fit_many(phantom_folder, other, **options)
    engine = use(monkeypatch, Here())
    run = fit_many(phantom_folder, CONFIG, **options)
    assert engine.asked == [*FOLDS[1:], "whole"]
    assert_same_result(run, whole)
    engine = use(monkeypatch, Here())
    assert fit_many(phantom_folder, CONFIG, **options).metrics == run.metrics
    assert engine.asked == []


def test_seeds_by_workers_are_those_of_one_process(phantom_folder, tmp_path, monkeypatch):
    config = plain(epochs=1, baselines=False)
    expected = train_seeds(phantom_folder, config, seeds=[3, 0], run_dir=tmp_path / "expected")
    engine = use(monkeypatch, Here())
    found = fit_many(phantom_folder, config, seeds=[3, 0], run_dir=tmp_path / "found")
    assert engine.asked == ["seed_0003", "seed_0000"]
    for mine, its in zip(found.runs, expected.runs, strict=True):
        assert_same_result(mine, its)
    assert found.metrics["mean"] == expected.metrics["mean"]
    assert (found.directory / "report.html").exists()
    # A seed more than before.
    more = fit_many(phantom_folder, config, seeds=[3, 0, 1], run_dir=tmp_path / "found", resume=True)
    assert engine.asked[2:] == ["seed_0001"]
    assert [run.record["seed"] for run in more.runs] == [3, 0, 1]


def test_a_fold_that_diverges_withholds_the_score(phantom_folder, tmp_path, monkeypatch):
    use(monkeypatch, Here())
    training = plain(epochs=1, baselines=False, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(DivergedError, match="training of fold 0, 1 diverged"):
        fit_many(phantom_folder, CrossvalConfig(folds=2, training=training), run_dir=tmp_path / "run")
    assert medjax.load_run(tmp_path / "run").record["status"] == "diverged"


def test_what_a_worker_refuses_is_refused(phantom_folder, tmp_path, monkeypatch):
    engine = use(monkeypatch, Here())
    training = plain(epochs=1, positive="Tail")
    with pytest.raises(RefusedError, match="--positive"):
        fit_many(phantom_folder, CrossvalConfig(folds=2, training=training), run_dir=tmp_path / "run")
    assert engine.asked == ["fold_00", "fold_01"]  # once: it would be refused again


def test_what_cannot_be_divided_is_refused_before_anything_is_written(phantom_folder, trained_run, tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(RefusedError, match=r"--on: is for several fits, .* \(give --seeds"):
        fit_many(phantom_folder, plain(epochs=1), run_dir=directory)
    with pytest.raises(RefusedError, match="--fold-strategy: vmap is for the folds of one process"):
        fit_many(phantom_folder, CrossvalConfig(fold_strategy="vmap"), run_dir=directory)
    with pytest.raises(RefusedError, match="--epochs"):
        fit_many(phantom_folder, CrossvalConfig(training=plain(epochs=0)), run_dir=directory)
    with pytest.raises(RefusedError, match="is in the memory of this process"):
        fit_many(medjax.load("phantom"), CONFIG, run_dir=directory)
    with pytest.raises(RefusedError, match=r"name it: --run DIR"):
        fit_many(phantom_folder, CONFIG, resume=True)
    for name in ("a\nb", "a\rb", "a\udcffb"):  # which would be two paths, or none, to a worker
        with pytest.raises(RefusedError, match="has a line break in its path, or is not UTF-8"):
            fit_many(phantom_folder, CONFIG, run_dir=tmp_path / name)
    with pytest.raises(RefusedError, match="was begun in one process"):
        fit_many(phantom_folder, CONFIG, run_dir=trained_run.directory, resume=True)
    assert not list(tmp_path.iterdir())


def test_an_empty_directory_is_begun_by_resume(tmp_path):
    assert open_directory(tmp_path, "name", resume=True) == (tmp_path, False)
    assert open_directory(tmp_path, "name", resume=True) == (tmp_path, True)


ONE_THREAD = (
    "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from medjax.cli import main; main()"
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a process of one core")
def test_a_worker_that_is_killed_costs_nothing(phantom_folder, tmp_path):
    """Two processes of a thread each, one of them killed: the bits of a single process that has one core."""
    words = ["crossval", str(phantom_folder), "--epochs", "60", "--folds", "2", "--batch-size", "8"]
    words += ["--no-baselines", "--schedule", "constant"]
    alone = [sys.executable, "-c", ONE_THREAD, *words, "--run", str(tmp_path / "alone")]
    subprocess.run(alone, check=True, capture_output=True)
    together = [sys.executable, "-m", "medjax", *words, "--run", str(tmp_path / "run")]
    together += ["--on", "local:2", "--threads-per-fit", "1"]
    with subprocess.Popen(together, stderr=subprocess.PIPE, text=True) as process:
        checkpoints = tmp_path / "run" / "fits" / "fold_00" / "checkpoints" / "fold_00"
        while not list(checkpoints.glob("*.sha256")):
            assert process.poll() is None
            time.sleep(0.05)
        workers = [int(pid) for pid in _children(process.pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        said = process.communicate()[1]
    assert process.returncode == 0
    assert "1 fit did not end well: again, from the last checkpoints" in said
    names = "alone/predictions.csv", "run/predictions.csv"
    assert filecmp.cmp(*(tmp_path / name for name in names), shallow=False)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["machine"]["threads"] == 1
    mine, its = (train_metrics(tmp_path / name) for name in ("alone", "run"))
    assert mine == its


def train_metrics(directory):
    return {**json.loads((directory / "metrics.json").read_text()), "seconds": None}


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_resume_goes_on(phantom_folder, tmp_path):
    words = [sys.executable, "-m", "medjax", "train", str(phantom_folder), "--seeds", "0-1", "--no-baselines"]
    words += ["--epochs", "60", "--batch-size", "8", "--run", str(tmp_path / "run"), "--on", "local:2"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        # Both have begun: of one there may be two checkpoints for a moment.
        while (
            len({path.parts[-4] for path in (tmp_path / "run").glob("seed_*/checkpoints/fold_00/*.sha256")})
            < 2
        ):
            assert process.poll() is None
            time.sleep(0.05)
        workers = _children(process.pid)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert f"--run {tmp_path / 'run'}" in said
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    subprocess.run([*words, "--resume"], check=True, capture_output=True)
    for seed in (0, 1):
        run = medjax.load_run(tmp_path / "run" / f"seed_000{seed}")
        assert len(run.record["resumptions"]) == 1
    config = medjax.TrainConfig(epochs=60, batch_size=8, baselines=False)
    alone = train(phantom_folder, config, run_dir=tmp_path / "alone")
    assert alone.metrics["test"]["n"] == medjax.load_run(tmp_path / "run" / "seed_0000").metrics["test"]["n"]
