"""Networks by name: of medjax, of a module, of a file."""

import sys
from pathlib import Path

import pytest

from medjax import config
from medjax.errors import RefusedError
from medjax.models.as_network import as_network
from medjax.models.cnn import CNN
from medjax.models.registry import MODELS, load_model

FILE = """
import dataclasses
from flax import linen as nn
from flax import nnx

class Mine(nn.Module):
    num_classes: int
    width: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(nn.Dense(self.width)(x.reshape(len(x), -1)))

class Other(nnx.Module):
    def __init__(self, num_classes, *, side=28, rngs):
        self.dense = nnx.Linear(side * side, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.dense(x.reshape(len(x), -1))

number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_networks.py"
    path.write_text(FILE)
    return path


def test_names_of_the_registry_need_no_import():
    assert load_model("cnn").make(4) == CNN(4)


def test_the_help_names_all_networks():
    assert f"Network: {', '.join(MODELS)}, or your own" in Path(config.__file__).read_text(encoding="utf-8")


def test_published_networks_have_few_settings():
    made = load_model("resnet18", ("dropout=0.25",)).make(4)
    assert (made.head.num_classes, made.head.dropout) == (4, 0.25)
    with pytest.raises(RefusedError, match=r"--model vgg16: cannot be called: .*num_classes.*--model-set"):
        load_model("vgg16", ("num_classes=3",)).make(4)


def test_a_file_gives_linen_and_nnx_networks_with_settings(file):
    mine = load_model(f"{file}:Mine", ("width=7",)).make(5)
    assert (mine.num_classes, mine.width) == (5, 7)
    other = as_network(load_model(f"{file}:Other", ("side=8",)).make(5))
    assert other.name == "Other"
    assert other.settings == {"side": 8}


def test_a_module_on_the_path_is_imported(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    assert load_model("my_networks:Mine").make(2).num_classes == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet", "--model resnet: is none of cnn"),
        ("no_such_module:make", r"there is no module no_such_module \(name a file, as model.py:name"),
        ("no_such_file.py:make", "there is no file no_such_file.py"),
        ("os:no_such_name", "os has no function or class no_such_name"),
        (":make", "is none of cnn"),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_give(spec, message):
    with pytest.raises(RefusedError, match=message):
        load_model(spec)


def test_what_cannot_be_called_and_settings_that_do_not_fit_are_refused(file):
    with pytest.raises(RefusedError, match="has no function or class number"):
        load_model(f"{file}:number")
    with pytest.raises(RefusedError, match=r"cannot be called: .*depth.*--model-set"):
        load_model(f"{file}:Mine", ("depth=3",)).make(2)
    with pytest.raises(RefusedError, match=r"--model-set width: is no key=value"):
        load_model(f"{file}:Mine", ("width",))


def test_values_are_literals_or_text_and_are_never_evaluated(file):
    factory = load_model(f"{file}:Mine", ("width=[1, 2]", "name=__import__('os').getcwd()"))
    assert factory.settings == {"width": [1, 2], "name": "__import__('os').getcwd()"}


def test_a_file_may_import_its_neighbors(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighboring_layers.py").write_text("def make(num_classes):\n    return num_classes\n")
    (tmp_path / "own_network.py").write_text("from neighboring_layers import make\n")
    assert load_model(f"{tmp_path / 'own_network.py'}:make").make(3) == 3
