"""A run of several labels from training to predictions of other images, and what its directory says."""

import numpy as np
import pytest

import medjax
from medjax.config import TrainConfig
from medjax.errors import RefusedError
from medjax.jobs.label_thresholds import recorded_thresholds
from medjax.report.terminal import audit_lines, evaluation_lines, training_lines
from medjax.runs.answers import read_answers
from tests.finished_runs import read_predictions

NAMES = ("upright", "level", "bright")


def make_data(n=240, unknown=0.1, seed=0):
    """Images with stripes, either way or both or none, some of them bright; a tenth of the labels is not known."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, 3)) < (0.5, 0.4, 0.3)).astype(float)
    images = generator.integers(0, 60, (n, 8, 8))
    images[:, :, 2] += 100 * labels[:, :1].astype(int)
    images[:, 5] += 100 * labels[:, 1:2].astype(int)
    images += 50 * labels[:, 2].astype(int)[:, None, None]
    labels[generator.random(labels.shape) < unknown] = np.nan
    groups = np.arange(n) // 2
    return medjax.make_dataset(images.astype(np.uint8), labels, NAMES, groups=groups, name="stripes")


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    config = TrainConfig(
        epochs=12,
        batch_size=16,
        augment=False,
        dropout=0.0,
        block_features=(8,),
        loss_proportional_sampling=0,
    )
    return medjax.train(data, config, run_dir=tmp_path_factory.mktemp("labels") / "run")


def test_the_scores_are_of_several_labels(run, data):
    metrics, record = run.metrics, run.record
    assert (record["several_labels"], record["status"]) == (True, "done")
    baselines = metrics["baselines"]
    assert set(baselines["models"]) == {"frequency", "nearest_neighbour", "logistic_regression"}
    assert baselines["models"]["frequency"]["auc"] == 0.5
    gain = metrics["test"]["auc"] - baselines["models"][baselines["best"]]["auc"]
    assert baselines["gain_over_best_baseline"]["difference"] == pytest.approx(gain)
    assert baselines["gain_over_best_baseline"]["unit"] == "group"
    assert metrics["test"]["auc"] > 0.9
    counts = record["data"]["counts"]["test"]
    assert {name: row["n"] for name, row in metrics["test"]["per_class"].items()} == counts
    assert {name: row["threshold"] for name, row in metrics["val"]["per_class"].items()} == metrics[
        "thresholds"
    ]
    assert sum(record["data"]["images"].values()) == len(data.labels)
    (line, *_) = training_lines(metrics, record, run.directory)
    assert line.startswith("test: AUC ")
    assert "the mean over 3 labels; all labels of an image right for" in line
    assert not line.endswith("too good)")
    (line,) = evaluation_lines({"val": metrics["val"]}, record)
    assert line.endswith("(thresholds chosen on these images: too good)")


def test_predictions_csv_names_all_labels(run, data):
    rows = {row["id"]: row for row in read_predictions(run)}
    place = {id: index for index, id in enumerate(data.ids)}
    thresholds = np.array([run.metrics["thresholds"][name] for name in NAMES], np.float32)
    for id, row in rows.items():
        truth = data.labels[place[id]]
        assert row["label"] == "|".join(name for name, label in zip(NAMES, truth, strict=True) if label == 1)
        assert row["unknown"] == "|".join(name for name, label in zip(NAMES, truth, strict=True) if label < 0)
        probabilities = np.array([row[f"p_{name}"] for name in NAMES], np.float32)
        expected = [name for name, each in zip(NAMES, probabilities >= thresholds, strict=True) if each]
        assert row["predicted"] == "|".join(expected)
    answers = read_answers(run.directory, run.record)
    wrong = sum(answer.label != answer.predicted for answer in answers.values())
    known = [id for id in answers if (data.labels[place[id]] >= 0).any()]
    assert wrong == run.metrics["test"]["errors"]
    assert len(known) == run.metrics["test"]["n"]


def test_the_page_has_a_table_of_labels_and_no_confusion_matrix(run):
    page = (run.directory / "report.html").read_text()
    for words in (
        "Scores of each label",
        "All pairs of image and label (micro)",
        "chose by the largest sum",
        "too good on the validation images",
        "Baselines on the same images",
        "percentage points of mean AUC",
        "should have the label: below the diagonal probabilities are too high",
    ):
        assert words in page
    assert ("below it the labels that are wrong" in page) == (run.metrics["test"]["errors"] > 0)
    assert "calibration and more" not in page
    assert "Confusion matrix" not in page
    assert "was left out, because" not in page
    names = sorted(path.stem for path in (run.directory / "figures").glob("*.png"))
    assert names == ["curves", "errors", "ranking", "reliability", "samples"]


def test_scoring_again_gives_the_same_and_other_data_may_lack_labels(run, data):
    assert run.evaluate(data) == {"test": run.metrics["test"]}
    other = make_data(60, seed=9)
    known = medjax.make_dataset(other.images, other.labels[:, [1, 0]], ("level", "upright"))
    found = run.evaluate(known)
    assert found["external"]["per_class"]["bright"]["known"] == 0
    assert found["external"]["per_class"]["upright"]["auc"] > 0.9
    assert any(line.startswith("external: AUC") for line in evaluation_lines(found, run.record))
    mixed = np.concatenate([other.images, data.images[:6]])
    labels = np.concatenate([other.labels, np.full((6, 3), -1)])
    found = run.evaluate(medjax.make_dataset(mixed, labels, NAMES))
    assert found["external"]["n"] == (other.labels >= 0).any(axis=1).sum()
    assert (found["num_identical"] > 0, found["identical"]) == (True, None)
    with pytest.raises(RefusedError, match="has no image with a known label"):
        run.evaluate(medjax.make_dataset(other.images, np.full((60, 3), -1), NAMES))
    single = medjax.make_dataset(other.images, np.arange(60) % 2, ("bright", "level"))
    assert run.evaluate(single)["external"]["n"] == 60
    predicted = run.predict_images(other.images[:5])
    decided = predicted.probabilities[0] >= [run.metrics["thresholds"][name] for name in NAMES]
    assert predicted.predicted[0] == "|".join(np.array(NAMES)[decided[0]])


def test_what_does_not_go_with_several_labels_is_refused(run, data, trained_run, tmp_path):
    with pytest.raises(RefusedError, match="--ordinal: is of one class an image"):
        medjax.train(data, TrainConfig(ordinal=True), run_dir=tmp_path / "a")
    with pytest.raises(RefusedError, match="--class-balance: is of one class an image"):
        medjax.train(data, TrainConfig(class_balance="sampling"), run_dir=tmp_path / "b")
    with pytest.raises(RefusedError, match="several labels an image, and the model knows one class"):
        trained_run.evaluate(data)
    with pytest.raises(RefusedError, match="one is of several labels an image"):
        medjax.compare_runs(run.directory, trained_run.directory)
    compared = medjax.compare_runs(run.directory, run.directory)
    assert (compared["difference"], compared["right_to_wrong"]["n"]) == (0, 0)
    for damaged in ({}, {"thresholds": {"upright": 0.5}}):
        with pytest.raises(RefusedError, match="has no threshold for each label"):
            recorded_thresholds(damaged, NAMES, [0], "metrics.json")


def test_folds_choose_their_own_thresholds_and_answer_together(data, tmp_path):
    training = TrainConfig(
        epochs=3, batch_size=16, augment=False, dropout=0.0, block_features=(8,), loss_proportional_sampling=0
    )
    run = medjax.cross_validate(
        data, medjax.CrossvalConfig(folds=2, training=training), run_dir=tmp_path / "folds"
    )
    first, second = (fold["thresholds"] for fold in run.metrics["folds"])
    assert first != second
    assert run.evaluate(data) == {"test": run.metrics["pooled"]}
    mean = recorded_thresholds(run.metrics, NAMES, [0, 1], "metrics.json")
    assert mean == pytest.approx([(first[name] + second[name]) / 2 for name in NAMES])
    answers = run.predict_images(data.images[:3])
    decided = answers.probabilities.mean(axis=0) >= mean
    assert answers.predicted == ["|".join(np.array(NAMES)[each]) for each in decided]
    assert "Mean AUC" in (run.directory / "report.html").read_text()


def test_an_audit_counts_images_and_labels(data, tmp_path):
    path = tmp_path / "stripes.npz"
    np.savez(path, train_images=data.images, train_labels=data.labels, class_names=np.array(NAMES))
    lines = audit_lines(medjax.audit(path, out=tmp_path / "audit"))
    assert [line.split()[0] for line in lines[2:6]] == [*NAMES, "all"]
    assert sum(int(cell.replace(",", "")) for cell in lines[5].split()[1:4]) == len(data.labels)
