"""The public names: there, documented, annotated, and with the signatures that the contracts promise."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import medjax

PACKAGE = Path(medjax.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
PUBLIC_FUNCTIONS = [
    pytest.param(value, id=f"{name}.{attribute}")
    for name in MODULES
    for attribute, value in vars(importlib.import_module(name)).items()
    if inspect.isfunction(value) and value.__module__ == name and not attribute.startswith("_")
]


@pytest.mark.parametrize("name", medjax.__all__)
def test_public_names_resolve_and_are_documented(name):
    assert inspect.getdoc(getattr(medjax, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        medjax.nothing  # noqa: B018
    assert set(medjax.__all__) <= set(dir(medjax))


def test_import_medjax_is_quick_because_jax_waits():
    code = "import sys, medjax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are_for(name):
    assert inspect.getdoc(importlib.import_module(name))


@pytest.mark.parametrize("function", PUBLIC_FUNCTIONS)
def test_public_functions_are_documented_and_annotated(function):
    assert inspect.getdoc(function), "no docstring"
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values())


@pytest.mark.parametrize("function", PUBLIC_FUNCTIONS)
def test_a_key_comes_first_and_is_called_key(function):
    names = list(inspect.signature(function).parameters)
    assert "rng" not in names
    if "key" in names:
        assert names[0] == "key"


def test_contracts():
    from medjax.training.learner import Learner, LearnerState

    assert list(inspect.signature(medjax.make_learner).parameters) == [
        "model",
        "optimizer",
        "augment",
        "mix",
        "loss",
        "test_time_augmentation",
        "ema_decay",
        "compute",
        "deterministic",
        "several_labels",
    ]
    assert Learner._fields[:3] == ("init", "train_step", "eval_step")
    assert {"parameters", "optimizer_state", "step", "learning_rate_scale"} <= set(LearnerState._fields)
    assert medjax.Dataset._fields[:5] == ("images", "labels", "class_names", "ids", "digests")
    assert {"network_state"} <= set(LearnerState._fields)
    assert medjax.Variables._fields == ("parameters", "state")
    assert medjax.Split._fields == ("train", "val", "test")
