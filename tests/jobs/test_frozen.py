"""Runs with frozen features: what changes, what does not, and how they go on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import medjax
from medjax.config_checks import require_valid
from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.jobs import frozen, pretrained
from medjax.jobs.from_config import make_network
from medjax.runs.checkpoint import list_checkpoints, load_checkpoint
from medjax.training.programs import compile_epoch
from tests.configs import plain
from tests.finished_runs import assert_same_result, read_history
from tests.interrupted import interrupt_after

START = plain(epochs=1, block_features=(4,), hidden_units=0, batch_size=16, augment=False, baselines=False)


@pytest.fixture(scope="module")
def phantoms():
    return make_phantom(seed=3, images_per_class=10)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration that starts from a run over other images, with frozen features."""
    others = make_phantom(seed=5, images_per_class=10)
    run = medjax.train(others, START, run_dir=tmp_path_factory.mktemp("runs") / "other")
    return dataclasses.replace(START, pretrained=run.directory, freeze="features", epochs=2)


@pytest.fixture(scope="module")
def probed(config, phantoms, tmp_path_factory):
    return medjax.train(phantoms, config, run_dir=tmp_path_factory.mktemp("runs") / "probe")


def variables_after(directory):
    return load_checkpoint(list_checkpoints(directory / "checkpoints" / "fold_00")[-1], "variables")


def kernels(variables):
    parameters = variables["parameters"] if isinstance(variables, dict) else variables.parameters
    return parameters["features"]["block_0"]["kernel"], parameters["head"]["logits"]["kernel"]


def test_features_stay_and_the_head_is_trained(config, probed):
    before, after = (kernels(variables_after(path)) for path in (Path(config.pretrained), probed.directory))
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])


def test_a_probe_is_restored_as_the_whole_network(phantoms, probed):
    scores = medjax.load_run(probed.directory).evaluate(phantoms)["test"]
    assert scores["loss"] == pytest.approx(probed.metrics["test"]["loss"], rel=1e-5)


def test_features_computed_in_each_step_give_the_same(config, phantoms, probed, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_MOST_BYTES", 0)
    run = medjax.train(phantoms, config, run_dir=tmp_path / "run")
    losses = [[float(row["train_loss"]) for row in read_history(each)] for each in (run, probed)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert run.metrics["test"]["loss"] == pytest.approx(probed.metrics["test"]["loss"], rel=1e-4)


def test_a_probe_continues_to_the_same_bits(config, phantoms, probed, tmp_path):
    shorter = dataclasses.replace(config, epochs=1)
    medjax.train(phantoms, shorter, run_dir=tmp_path / "run")
    continued = medjax.train(phantoms, config, run_dir=tmp_path / "run", resume=True)
    assert_same_result(continued, probed)


def test_seeds_share_the_weights_the_features_and_the_programs(
    config, phantoms, probed, tmp_path, monkeypatch
):
    calls = []

    def counting(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, **named: calls.append(name) or function(*given, **named)
        )

    counting(pretrained, "restore_variables")
    counting(frozen, "make_probe")
    before = compile_epoch.cache_info().misses
    runs = medjax.train_seeds(phantoms, config, seeds=[7, config.seed], run_dir=tmp_path / "seeds").runs
    assert calls == ["restore_variables", "make_probe"]
    assert compile_epoch.cache_info().misses == before + 1
    assert_same_result(runs[1], probed)


def test_features_are_trained_after_so_many_epochs_wherever_the_run_was_stopped(
    config, phantoms, tmp_path, monkeypatch
):
    later = dataclasses.replace(config, epochs=4, unfreeze_after=2, features_rate=0.1)
    whole = medjax.train(phantoms, later, run_dir=tmp_path / "whole")
    start = kernels(variables_after(Path(config.pretrained)))[0]
    for epoch, is_frozen in enumerate((True, True, False)):
        with monkeypatch.context() as patch:
            interrupt_after(patch, epoch)
            with pytest.raises(KeyboardInterrupt):
                medjax.train(phantoms, later, run_dir=tmp_path / "run", resume=True)
        assert np.array_equal(start, kernels(variables_after(tmp_path / "run"))[0]) == is_frozen
    continued = medjax.train(phantoms, later, run_dir=tmp_path / "run", resume=True)
    assert_same_result(continued, whole)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pretrained": None}, "--freeze: features has no effect"),
        ({"freeze": "none", "unfreeze_after": 1}, "--unfreeze-after: 1 has no effect"),
        ({"unfreeze_after": 2}, "--unfreeze-after: 2 of 2 epochs"),
        ({"pretrained": None, "freeze": "none", "features_rate": 0.1}, "--features-rate: 0.1 has no effect"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(config, changes, reason):
    with pytest.raises(RefusedError, match=reason):
        require_valid(dataclasses.replace(config, **changes))


def test_features_are_computed_in_each_step_where_they_change(config, phantoms):
    network = make_network(config, None, phantoms.class_names, phantoms.images.shape[1:])
    is_cached = lambda **changes: frozen.caches_features(  # noqa: E731
        dataclasses.replace(config, **changes), network, phantoms
    )
    assert is_cached()
    assert not any([is_cached(augment=True), is_cached(unfreeze_after=1), is_cached(freeze="none")])
