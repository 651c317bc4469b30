"""Every name that the libraries publish is a parameter of ours, with as many numbers."""

import math
import re

import jax
import pytest

from medjax.models.as_network import as_network
from medjax.models.network import abstract_variables
from medjax.models.registry import MODELS
from medjax.models.weight_names import FIRST_KERNELS, RULES, UNUSED, path_of
from tests.models.published import read_published_names


def shapes_of(model):
    variables = abstract_variables(as_network(MODELS[model](1000)), (224, 224, 3))
    return {
        jax.tree_util.keystr(keys, simple=True, separator="/"): leaf.shape
        for tree in (variables.parameters, *variables.state.values())
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("published", read_published_names(), ids=" ".join)
def test_each_published_name_is_one_parameter_of_ours_and_none_is_left(published):
    model = published[0]
    entries = {
        name: shape for name, shape in read_published_names()[published].items() if not UNUSED.search(name)
    }
    paths = {name: path_of(model, name, len(shape)) for name, shape in entries.items()}
    shapes = shapes_of(model)
    assert len(set(paths.values())) == len(paths)
    assert set(paths.values()) == set(shapes)
    for name, path in paths.items():
        assert math.prod(entries[name]) == math.prod(shapes[path]), name
    assert FIRST_KERNELS[model] in shapes


def test_older_files_of_densenet_write_a_dot_before_the_number():
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): name
        for name in read_published_names()["densenet121", "torchvision"]
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    for name, newer in older.items():
        assert path_of("densenet121", name, 1) == path_of("densenet121", newer, 1)


def test_there_are_names_for_all_networks_but_our_own():
    assert RULES.keys() == FIRST_KERNELS.keys() == MODELS.keys() - {"cnn"}
