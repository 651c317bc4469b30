"""Several seeds at once: each the same run as by itself, and nothing read, compiled or trained twice."""

import dataclasses
import json
import shutil

import pytest

from medjax.config import CrossvalConfig
from medjax.errors import DivergedError, RefusedError
from medjax.jobs import datasets, draw_report, pipeline, seeds
from medjax.jobs.restored_run import Run, load_run
from medjax.jobs.seeds import describe_seeds, parse_seeds, train_seeds
from medjax.jobs.train import train
from medjax.runs.formats import SEEDS
from medjax.training.programs import compile_epoch
from tests.configs import plain
from tests.finished_runs import assert_same_result

CONFIG = plain(epochs=1, baselines=False, seed=99)  # a seed that is not used


@pytest.fixture(scope="module")
def counted(phantom_folder, tmp_path_factory):
    """Runs of two seeds; how often data were read, and programs made, to train and to draw what is augmented."""
    reads, load = [], datasets.load
    drawn, compile_program = [], draw_report.compile_program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda *args, **options: reads.append(1) or load(*args, **options))
        patch.setattr(draw_report, "compile_program", lambda draw: drawn.append(1) or compile_program(draw))
        before = compile_epoch.cache_info().misses
        directory = tmp_path_factory.mktemp("runs") / "seeds"
        trained = train_seeds(phantom_folder, CONFIG, seeds=[3, 0], run_dir=directory)
    return trained, len(reads), compile_epoch.cache_info().misses - before, len(drawn)


@pytest.fixture
def of_two(counted):
    return counted[0]


def test_data_are_read_and_programs_made_once(counted):
    assert counted[1:] == (1, 1, 1)


def test_each_seed_is_the_run_that_it_would_be_by_itself(of_two, phantom_folder, tmp_path):
    alone = train(phantom_folder, dataclasses.replace(CONFIG, seed=0), run_dir=tmp_path / "alone")
    first, second = of_two.runs
    assert [run.record["seed"] for run in of_two.runs] == [3, 0]
    assert_same_result(second, alone)
    assert second.record["config"] == alone.record["config"]
    assert load_run(first.directory).evaluate()["test"] == first.metrics["test"]


def test_all_together_have_a_summary_and_a_page(of_two):
    metrics = of_two.metrics
    blocks = [run.metrics["test"] for run in of_two.runs]
    assert SEEDS(json.loads((of_two.directory / "metrics.json").read_text())) is None
    assert [row["directory"] for row in metrics["seeds"]] == ["seed_0003", "seed_0000"]
    assert [row["errors"] for row in metrics["seeds"]] == [block["errors"] for block in blocks]
    assert metrics["mean"]["errors_range"] == sorted(block["errors"] for block in blocks)
    assert metrics["same_images"] is False
    assert 'href="seed_0003/report.html"' in (of_two.directory / "report.html").read_text()
    assert repr(of_two) == f"SeedRuns({str(of_two.directory)!r}, 2 runs)"


def test_a_finding_names_all_seeds_that_have_it(of_two, monkeypatch):
    early, late = (
        {"name": name, "sentence": f"It is {name}.", "remedy": "go on"} for name in ("early", "late")
    )
    found = {3: [late], 0: [early, late]}
    metrics = {run.record["seed"]: run.metrics for run in of_two.runs}

    def with_findings(run):
        seed = run.record["seed"]
        return {**metrics[seed], "diagnosis": found[seed]}

    monkeypatch.setattr(Run, "metrics", property(with_findings))
    diagnosis = describe_seeds(CONFIG, of_two.runs, [])["diagnosis"]
    assert diagnosis == [{**late, "seeds": [3, 0]}, {**early, "seeds": [0]}]


def test_an_interrupted_seed_is_continued_and_finished_ones_are_left(
    of_two, phantom_folder, tmp_path, monkeypatch, capsys
):
    directory = tmp_path / "seeds"
    shutil.copytree(of_two.directory, directory)
    shutil.rmtree(directory / "seed_0000")
    (directory / "metrics.json").unlink()
    kept = directory / "seed_0003" / "run.json"
    before = kept.stat().st_mtime_ns
    options = {"seeds": [3, 0], "run_dir": directory, "resume": True}
    command = f"medjax train {phantom_folder} --seeds 3,0"

    def stop(*arguments, **others):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_folds", stop)
        with pytest.raises(KeyboardInterrupt):
            train_seeds(phantom_folder, CONFIG, **options, command=command, is_quiet=False)
    assert f"continue with: {command} --run {directory} --resume" in capsys.readouterr().err
    assert not (directory / "metrics.json").exists()
    continued = train_seeds(phantom_folder, CONFIG, **options)
    assert kept.stat().st_mtime_ns == before
    for run, other in zip(continued.runs, of_two.runs, strict=True):
        assert_same_result(run, other)
    # Nothing is left to do, so nothing is read.
    monkeypatch.setattr(datasets, "load", stop)
    assert train_seeds(phantom_folder, CONFIG, **options).metrics["mean"] == of_two.metrics["mean"]
    with pytest.raises(RefusedError, match=r"holds runs of seed 3 too \(give --seeds all of its seeds\)"):
        train_seeds(phantom_folder, CONFIG, **{**options, "seeds": [0]})


def test_nothing_is_left_of_what_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(RefusedError):
        train_seeds(tmp_path / "data", CONFIG, seeds=[0], run_dir=tmp_path / "seeds")
    with pytest.raises(RefusedError, match="--epochs"):
        train_seeds("phantom", plain(epochs=0), seeds=[0], run_dir=tmp_path / "seeds")
    assert not (tmp_path / "seeds").exists()


def test_a_seed_that_diverges_withholds_the_mean_after_all_others(of_two, tmp_path, monkeypatch):
    def run_job(config, request, *, is_quiet):
        request.place("phantoms")
        if config.seed == 7:
            raise DivergedError("no")
        return of_two.runs[0]

    monkeypatch.setattr(seeds, "run_job", run_job)
    with pytest.raises(DivergedError, match="training of seed 7 diverged: the mean over seeds is withheld"):
        train_seeds("phantom", CONFIG, seeds=[7, 3], run_dir=tmp_path / "seeds")
    metrics = json.loads((tmp_path / "seeds" / "metrics.json").read_text())
    assert (metrics["diverged"], metrics["mean"], len(metrics["seeds"])) == ([7], None, 1)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-4", (0, 1, 2, 3, 4)), ("7", (7,)), ("0,3,7", (0, 3, 7)), (" 2 - 3, 0", (2, 3, 0)), ("5-5", (5,))],
)
def test_seeds_are_numbers_and_ranges(text, numbers):
    assert parse_seeds(text) == numbers


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no list of numbers"),
        ("a", "is no list of numbers"),
        ("1,", "is no list of numbers"),
        ("-1", "is no list of numbers"),
        ("1.5", "is no list of numbers"),
        ("4-0", "is not ascending"),
        ("0-2,1", "names a seed twice"),
        ("0-4294967295", "names more than 1,000 seeds"),
        ("4294967296", "is out of range"),
        ("9" * 5000, "is no list of numbers"),
    ],
)
def test_other_seeds_are_refused(text, reason):
    with pytest.raises(RefusedError, match=rf"^--seeds: .*{reason}.* \("):
        parse_seeds(text)


@pytest.mark.parametrize("wrong", [[], [True], [-1], [0, 0]])
def test_seeds_given_in_python_are_checked(wrong):
    with pytest.raises(RefusedError, match="--seeds"):
        train_seeds("phantom", CONFIG, seeds=wrong)


def test_a_directory_of_something_else_is_not_continued(trained_run, tmp_path):
    def resume(directory, **options):
        return train_seeds("phantom", CONFIG, seeds=[0], run_dir=directory, resume=True, **options)

    with pytest.raises(RefusedError, match="is the run of one seed"):
        resume(trained_run.directory)
    (tmp_path / "seed_0000").mkdir()
    (tmp_path / "letter.txt").touch()
    with pytest.raises(RefusedError, match="holds more than runs of several seeds"):
        resume(tmp_path)
    (tmp_path / "letter.txt").unlink()
    (tmp_path / "report.html").symlink_to("/etc/hostname")
    with pytest.raises(RefusedError, match="is a link"):
        resume(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match=r"is no directory"):
        resume(tmp_path / "file")
    with pytest.raises(RefusedError, match=r"name it: --run DIR"):
        resume(None)


def test_what_wants_one_run_names_one(of_two, phantom_folder):
    first = of_two.directory / "seed_0000"
    with pytest.raises(RefusedError, match="holds runs of several seeds") as caught:
        load_run(of_two.directory)
    assert caught.value.problems[0].remedy == f"name one: {first}"
    with pytest.raises(RefusedError, match=r"name them again: --seeds"):
        train(phantom_folder, CONFIG, run_dir=of_two.directory, resume=True)


@pytest.mark.slow
def test_seeds_of_a_cross_validation(phantom_folder, tmp_path):
    config = CrossvalConfig(folds=2, training=CONFIG)
    trained = train_seeds(phantom_folder, config, seeds=range(2), run_dir=tmp_path / "seeds")
    pooled = [run.metrics["pooled"]["errors"] for run in trained.runs]
    assert trained.metrics["part"] == "pooled"
    assert [row["errors"] for row in trained.metrics["seeds"]] == pooled
    assert trained.metrics["same_images"] is True
