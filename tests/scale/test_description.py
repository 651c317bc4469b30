"""A description says all of a fit, comes back as it was, and names no folder elsewhere."""

import dataclasses
import json
from pathlib import Path

import pytest

from medjax.config import CrossvalConfig
from medjax.errors import RefusedError
from medjax.scale.description import Description, read_description, require_same_fit, write_description
from tests.configs import plain

CONFIG = CrossvalConfig(folds=3, only_fold=1, training=plain())


def describe(folder, **changes):
    description = Description(
        Path(folder) / "fold_01.json",
        "phantom",
        "ab" * 32,
        CONFIG,
        "fold_01",
        (),
        "none",
        1,
        {"jax": "1"},
        "medjax crossval phantom",
    )
    return dataclasses.replace(description, **changes)


def test_it_comes_back_as_it_was(tmp_path):
    for run, directory in (
        ("fold_01", tmp_path / "fold_01"),
        ("..", tmp_path.parent),
        ("../seed_0001", tmp_path / "../seed_0001"),
    ):
        description = describe(tmp_path, run=run, fold_runs=("fold_00", "seed_0001-fold_01"))
        write_description(description)
        assert read_description(description.path) == description
        assert description.directory == directory


def test_a_network_of_the_users_own_is_named_and_nothing_else(tmp_path):
    assert describe(tmp_path).own_model is None
    config = dataclasses.replace(CONFIG, training=plain(model="nets.py:net"))
    assert describe(tmp_path, config=config).own_model == "nets.py:net"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run": "../../elsewhere"}, r"names the folder ../../elsewhere"),
        ({"run": "/etc"}, "names the folder /etc"),
        ({"run": ""}, "names the folder "),
        ({"fold_runs": ["fold_00", "../.."]}, r"names the folder \.\./\.\."),
        ({"threads": 0}, "threads is 0"),
        ({"scoring": "most"}, "scoring is 'most'"),
        ({"format": 2}, "format is 2"),
        ({"config": {}}, "run.json"),
        ({"versions": [1]}, "versions is"),
    ],
)
def test_a_strangers_file_is_refused(tmp_path, change, reason):
    description = describe(tmp_path)
    write_description(description)
    value = json.loads(description.path.read_text()) | change
    description.path.write_text(json.dumps(value))
    with pytest.raises(RefusedError, match=reason):
        read_description(description.path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threads": 2}, r"was begun with other threads a fit: 1, not 2 \(repeat what began it"),
        ({"fingerprint": "cd" * 32}, "was begun with other data"),
        ({"versions": {"jax": "2"}}, "was begun with other versions: jax 1, not jax 2"),
        ({"config": plain()}, "was begun with other settings"),
        ({"scoring": "all"}, "was begun with other parts"),
    ],
)
def test_a_fit_is_continued_as_it_was_begun(tmp_path, change, reason):
    old = describe(tmp_path)
    require_same_fit(old, describe(tmp_path, command="another"))
    with pytest.raises(RefusedError, match=reason):
        require_same_fit(old, describe(tmp_path, **change))
