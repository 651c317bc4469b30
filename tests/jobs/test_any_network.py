"""Networks of a user's own through the whole pipeline: train, evaluate, resume, predict, page; folds looped and vmapped."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import linen as nn

import medjax
from medjax.errors import RefusedError
from medjax.models.registry import MODELS
from tests.configs import plain
from tests.finished_runs import assert_same_result, read_predictions
from tests.interrupted import interrupt_after
from tests.user_networks import NETWORKS, STATEFUL, BatchNormResNet, nnx_factory

QUICK = ("Linen BatchNorm ResNet", "NNX BatchNorm and Dropout", "functions with state")
CASES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name.replace(" ", "-"))
    for name in NETWORKS
]
CONFIG = plain(epochs=2, keep="best", baselines=False)


def probabilities_of(run):
    columns = [f"p_{name}" for name in run.record["class_names"]]
    return np.array([[float(row[column]) for column in columns] for row in read_predictions(run)])


@pytest.mark.parametrize("name", CASES)
def test_train_evaluate_resume_predict_and_page(name, phantom_folder, tmp_path, monkeypatch):
    make = NETWORKS[name]
    run = medjax.train(phantom_folder, CONFIG, model=make(6), run_dir=tmp_path / "whole")
    assert run.record["status"] == "done"
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert run.record["model"]["name"] in page
    assert f"{run.record['model']['parameters']:,} parameters" in page
    restored = medjax.load_run(run.directory, model=make(6))
    for part in ("val", "test"):
        assert restored.evaluate(part=part)[part] == run.metrics[part]
    row = next(row for row in read_predictions(run) if row["split"] == "test")
    _, probabilities = restored.predict([phantom_folder / row["id"]])
    expected = [float(row[f"p_{each}"]) for each in run.record["class_names"]]
    np.testing.assert_allclose(probabilities[0], expected, rtol=1e-4, atol=1e-6)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            medjax.train(phantom_folder, CONFIG, model=make(6), run_dir=tmp_path / "resumed")
    resumed = medjax.train(phantom_folder, CONFIG, model=make(6), run_dir=tmp_path / "resumed", resume=True)
    assert_same_result(run, resumed)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_folds_looped_and_vmapped(name, phantom_folder, tmp_path):
    make = NETWORKS[name]
    runs = {}
    for strategy in ("loop", "vmap"):
        training = dataclasses.replace(CONFIG, epochs=1)
        config = medjax.CrossvalConfig(folds=3, fold_strategy=strategy, training=training)
        runs[strategy] = medjax.cross_validate(
            phantom_folder, config, model=make(6), run_dir=tmp_path / strategy
        )
    # Adam makes a full step of the smallest gradient, so rounding shows; bfloat16 rounds more.
    tolerance = 0.05 if "bfloat16" in name else 0.01
    looped, vmapped = (probabilities_of(run) for run in runs.values())
    np.testing.assert_allclose(vmapped, looped, atol=tolerance)
    restored = medjax.load_run(runs["loop"].directory, model=make(6))
    assert restored.evaluate()["test"] == runs["loop"].metrics["pooled"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == QUICK[0] else pytest.mark.slow) for name in STATEFUL],
)
def test_the_networks_own_state_is_trained_and_kept(name, phantom_folder, tmp_path):
    run = medjax.train(phantom_folder, CONFIG, model=NETWORKS[name](6), run_dir=tmp_path / "run")
    from medjax.runs.checkpoint import list_checkpoints, load_checkpoint

    saved = load_checkpoint(list_checkpoints(run.directory / "checkpoints" / "fold_00")[-1], "variables")
    fresh = medjax.as_network(NETWORKS[name](6)).init(jax.random.key(0), (28, 28, 1))
    states = jax.tree.leaves(saved["state"]), jax.tree.leaves(fresh.state)
    assert states[0]
    assert any(not np.array_equal(kept, new) for kept, new in zip(*states, strict=True))


def test_a_run_of_a_users_network_needs_it_again(phantom_folder, tmp_path):
    run = medjax.train(phantom_folder, CONFIG, model=BatchNormResNet(6), run_dir=tmp_path / "run")
    with pytest.raises(
        RefusedError, match=r"BatchNormResNet, a network that is none of medjax's \(name it again"
    ):
        medjax.load_run(run.directory).evaluate()
    with pytest.raises(
        RefusedError, match=r"another network trained it: name was BatchNormResNet, is NnxCNN"
    ):
        medjax.load_run(run.directory, model=nnx_factory(6)).evaluate()
    with pytest.raises(RefusedError, match=r"another network trained it"):
        medjax.train(
            phantom_folder,
            dataclasses.replace(CONFIG, epochs=3),
            model=nnx_factory(6),
            run_dir=run.directory,
            resume=True,
        )
    assert medjax.load_run(run.directory).record["status"] == "done"


def test_a_run_computes_in_its_own_arithmetic_ever_after(phantom_folder, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=1, compute="bf16", deterministic=False)
    model = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(6)])
    run = medjax.train(phantom_folder, config, model=model, run_dir=tmp_path / "run")
    assert (run.record["config"]["compute"], run.record["config"]["deterministic"]) == ("bf16", False)
    restored = medjax.load_run(run.directory, model=model)
    assert restored.evaluate()["test"] == run.metrics["test"]
    other = dataclasses.replace(config, compute="f32")
    with pytest.raises(RefusedError, match="compute was bf16, is f32"):
        medjax.train(phantom_folder, other, model=model, run_dir=run.directory, resume=True)


def test_a_network_with_another_number_of_logits_is_refused_before_anything_is_written(
    phantom_folder, tmp_path
):
    with pytest.raises(RefusedError, match=r"network BatchNormResNet: has 5 logits for 6 classes"):
        medjax.train(phantom_folder, CONFIG, model=BatchNormResNet(5), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_imported_because_a_run_says_so(phantom_folder, tmp_path, monkeypatch):
    module = tmp_path / "evil_module.py"
    module.write_text("import pathlib\npathlib.Path('imported').touch()\ndef make(n):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = medjax.train(phantom_folder, CONFIG, model=BatchNormResNet(6), run_dir=tmp_path / "run")
    for spec in ("evil_module:make", "evil_module.py:make"):
        for source in ("medjax", "import"):
            record = {
                **run.record,
                "model": {**run.record["model"], "source": source},
                "config": {**run.record["config"], "model": spec},
            }
            with pytest.raises(RefusedError):
                dataclasses.replace(run, record=record, model=None).evaluate()
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"cnn"}))
def test_networks_of_medjax_are_trained_and_restored_by_name(name, phantom_folder, tmp_path):
    config = dataclasses.replace(
        CONFIG,
        epochs=1,
        model=name,
        model_set=("dropout=0.1",),
        data=dataclasses.replace(CONFIG.data, image_size=8),
    )
    run = medjax.train(phantom_folder, config, run_dir=tmp_path / "run")
    assert (run.record["model"]["name"], run.record["model"]["source"]) == (name, "medjax")
    assert medjax.load_run(run.directory).evaluate()["test"] == run.metrics["test"]
