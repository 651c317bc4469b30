"""What stored arrays claim is checked before a library believes it."""

import json

import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.runs.checkpoint import save_checkpoint
from medjax.runs.stored_arrays import count_bytes, require_arrays

TREE = {
    "dense": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)},
    "step": np.array(7),
}
KERNEL = "dense.kernel"


@pytest.fixture
def saved(tmp_path):
    save_checkpoint(tmp_path / "epoch_0001", {"state": TREE})
    return tmp_path / "epoch_0001" / "state"


def check(directory, like=TREE):
    files = {
        path.relative_to(directory).as_posix(): path.stat().st_size
        for path in directory.rglob("*")
        if path.is_file()
    }
    require_arrays(directory, files, like)


def claim(directory, **changes):
    path = directory / KERNEL / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_saved_passes(saved):
    check(saved)
    check(saved, None)
    assert count_bytes(TREE) == 4 * 6 + 4 * 3 + 8


HUGE = [10**7, 10**6]
GZIP = [{"name": "gzip", "configuration": {"level": 1}}]
TRANSPOSED = [{"name": "transpose", "configuration": {"order": [1, 0]}}]


@pytest.mark.parametrize("like", [TREE, None], ids=["expected", "unknown"])
@pytest.mark.parametrize(
    "changes",
    [
        {"shape": HUGE},
        {"shape": HUGE, "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": HUGE}}},
        {"shape": [2, -3]},
        {"shape": [2, 3.0]},
        {"shape": 6},
        {"data_type": "complex128"},
        {"data_type": "object"},
        {"data_type": "no_such"},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 3]}}},
        {"chunk_grid": []},
        {"codecs": GZIP},
        {"codecs": TRANSPOSED},
        {"codecs": 3},
        {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [2, 3], "codecs": GZIP}}]},
        {"chunk_key_encoding": {"name": "v2"}},
        {"storage_transformers": [{"name": "elsewhere"}]},
        {"zarr_format": 2},
        {"node_type": "group"},
    ],
    ids=str,
)
def test_a_claim_that_the_file_does_not_bear_out_is_refused(saved, changes, like):
    claim(saved, **changes)
    with pytest.raises(RefusedError, match=r"dense\.kernel"):
        check(saved, like)


@pytest.mark.parametrize("content", ["", "[", "[]", "[" * 60_000, "{}", "x" * 70_000])
def test_a_claim_that_cannot_be_read_is_refused(saved, content):
    (saved / KERNEL / "zarr.json").write_text(content)
    with pytest.raises(RefusedError, match=r"zarr\.json"):
        check(saved)


def test_an_array_of_another_size_is_refused(saved):
    data = saved / KERNEL / "c" / "0" / "0"
    content = data.read_bytes()
    for size in (0, 23, 10**6):
        data.write_bytes(content[:size].ljust(size, b"x"))
        with pytest.raises(RefusedError, match="bytes for an array of 24"):
            check(saved)
    data.unlink()
    with pytest.raises(RefusedError, match="is missing"):
        check(saved)


@pytest.mark.parametrize("name", ["manifest.ocdbt", "dense.kernel/c/0/1", "dense.other/zarr.json", ".zarray"])
def test_a_file_of_no_array_is_refused(saved, name):
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_text("{}")
    with pytest.raises(RefusedError, match=r"is no part of an array|is not an array of this network"):
        check(saved)


def test_a_description_far_larger_than_its_arrays_is_refused(saved):
    (saved / "_METADATA").write_text(" " * 10**6)
    with pytest.raises(RefusedError, match=r"_METADATA: has 1,000,000 bytes for 3 arrays"):
        check(saved)


def test_other_arrays_than_expected_are_refused(saved):
    with pytest.raises(RefusedError, match=r"dense\.scale: is missing from the checkpoint"):
        check(saved, {**TREE, "dense": {**TREE["dense"], "scale": np.ones(3)}})
    with pytest.raises(RefusedError, match=r"has shape \[2, 3\] of float32, not \[3, 3\] of float32"):
        check(saved, {**TREE, "dense": {**TREE["dense"], "kernel": np.ones((3, 3), np.float32)}})
    with pytest.raises(RefusedError, match=r"step: is not an array of this network"):
        check(saved, {"dense": TREE["dense"]})
