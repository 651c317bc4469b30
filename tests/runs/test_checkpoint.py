"""Checkpoints come back bit for bit, or not at all."""

import os
import subprocess
import sys
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1

from medjax.errors import RefusedError
from medjax.runs.checkpoint import (
    copy_checkpoint,
    delete_checkpoint,
    list_checkpoints,
    load_checkpoint,
    require_facts,
    save_checkpoint,
    verify_checkpoint,
)


class State(NamedTuple):
    parameters: dict
    moments: tuple
    step: object


def make_items(scale=1.0):
    parameters = {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3) * scale, "bias": jnp.ones(3)}}
    state = State(parameters, (jnp.zeros(2), jnp.array([jnp.nan, -0.0])), jnp.array(7, jnp.int32))
    return {"parameters": parameters, "state": state}


def bits(tree):
    import jax

    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.fixture
def saved(tmp_path):
    save_checkpoint(tmp_path / "epoch_0001", make_items())
    return tmp_path / "epoch_0001"


def test_a_state_comes_back_bit_for_bit_in_its_structure(saved):
    state = load_checkpoint(saved, "state", make_items()["state"])
    assert isinstance(state, State)
    assert isinstance(state.moments, tuple)
    assert bits(state) == bits(make_items()["state"])


def test_nan_of_bfloat16_comes_back(tmp_path):
    tree = {"a": jnp.array([jnp.nan, 1.0], jnp.bfloat16)}
    save_checkpoint(tmp_path / "epoch_0001", {"state": tree})
    loaded = load_checkpoint(tmp_path / "epoch_0001", "state", tree)
    assert np.asarray(tree["a"]).tobytes() == loaded["a"].tobytes()


def test_parameters_load_alone_without_knowing_their_structure(saved):
    parameters = load_checkpoint(saved, "parameters")
    assert isinstance(parameters["dense"]["kernel"], np.ndarray)
    assert bits(parameters) == bits(make_items()["parameters"])


def test_an_existing_checkpoint_is_never_overwritten(saved):
    with pytest.raises(RefusedError, match="exists already"):
        save_checkpoint(saved, make_items())


def test_the_manifest_is_readable_by_sha256sum(saved):
    result = subprocess.run(
        ["sha256sum", "--check", "--quiet", f"{saved.name}.sha256"], cwd=saved.parent, check=False
    )
    assert result.returncode == 0


def files_of(saved):
    return sorted(path for path in saved.rglob("*") if path.is_file())


def everything_of(saved):
    """Its files, and the manifest beside it."""
    return [*files_of(saved), saved.with_name(f"{saved.name}.sha256")]


def test_one_flipped_bit_anywhere_is_named_and_refused(saved):
    generator = np.random.default_rng(0)
    paths = [path for path in everything_of(saved) if path.stat().st_size]
    sizes = np.array([path.stat().st_size for path in paths])
    # Two hundred bits: each file once, the rest wherever a bit happens to lie.
    chosen = [*range(len(paths)), *generator.choice(len(paths), 200 - len(paths), p=sizes / sizes.sum())]
    for path in (paths[index] for index in chosen):
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(RefusedError, match=f"{saved.name}.*: "):
            load_checkpoint(saved, "parameters")
        path.write_bytes(content)
    verify_checkpoint(saved)


def test_a_truncated_file_is_named_and_refused(saved):
    generator = np.random.default_rng(1)
    paths = [path for path in everything_of(saved) if path.stat().st_size]
    for _ in range(50):
        path = paths[generator.integers(len(paths))]
        content = path.read_bytes()
        path.write_bytes(content[: generator.integers(len(content))])
        with pytest.raises(RefusedError, match=f"{saved.name}.*: "):
            load_checkpoint(saved, "parameters")
        path.write_bytes(content)
    verify_checkpoint(saved)


def test_a_missing_file_is_named_and_refused(saved):
    for path in everything_of(saved):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(RefusedError, match=f"{path.name}: (is missing|the manifest cannot be read)"):
            load_checkpoint(saved, "parameters")
        path.write_bytes(content)
    verify_checkpoint(saved)


def test_a_foreign_file_is_named_and_refused(saved):
    (saved / "extra").write_text("x")
    with pytest.raises(RefusedError, match="extra: is not in the checkpoint's manifest"):
        load_checkpoint(saved, "parameters")


def test_without_a_manifest_there_is_no_checkpoint(saved):
    manifest = saved.with_name("epoch_0001.sha256")
    manifest.write_text(manifest.read_text()[5:])
    with pytest.raises(RefusedError, match="is damaged"):
        load_checkpoint(saved, "parameters")
    manifest.unlink()
    assert list_checkpoints(saved.parent) == []
    with pytest.raises(RefusedError, match="manifest cannot be read"):
        load_checkpoint(saved, "parameters")


def test_a_checkpoint_of_another_shape_is_refused_by_name(saved):
    with pytest.raises(RefusedError, match="cannot be read as 'nothing'"):
        load_checkpoint(saved, "nothing")


def test_facts_are_saved_under_the_checksums_of_the_arrays(tmp_path):
    directory, facts = tmp_path / "epoch_0001", {"class_names": ["Katze", "Größe"], "n": 3}
    save_checkpoint(directory, make_items(), facts)
    load_checkpoint(directory, "parameters")
    require_facts(directory, facts, "run.json")
    for other in ({**facts, "class_names": ["Größe", "Katze"]}, {"n": 3}, {**facts, "more": 1}):
        with pytest.raises(
            RefusedError, match=r"^run\.json: (class_names|more) is not what .*epoch_0001 was saved"
        ):
            require_facts(directory, other, "run.json")
    (directory / "facts.json").write_text('{"n": 3}')
    with pytest.raises(RefusedError, match=r"facts\.json: is damaged"):
        load_checkpoint(directory, "parameters")
    for content in ("[]", "{", "[" * 100_000):
        (directory / "facts.json").write_text(content)
        with pytest.raises(RefusedError, match=r"facts\.json"):
            require_facts(directory, facts, "run.json")


def test_a_copy_is_bit_for_bit_under_facts_of_its_own(tmp_path):
    source, target = tmp_path / "one" / "epoch_0001", tmp_path / "other" / "epoch_0007"
    source.parent.mkdir()
    save_checkpoint(source, make_items(), {"fold": 1})
    copy_checkpoint(source, target, {"fold": None}, root=tmp_path)
    verify_checkpoint(target)
    require_facts(target, {"fold": None}, "run.json")
    assert bits(load_checkpoint(target, "state", make_items()["state"])) == bits(make_items()["state"])
    (source / "facts.json").write_text("{}")
    with pytest.raises(RefusedError, match="is damaged"):
        copy_checkpoint(source, tmp_path / "third", {}, root=tmp_path)
    assert not (tmp_path / "third").exists()


def test_links_and_special_files_are_refused_unopened(saved):
    data = max(files_of(saved), key=lambda path: path.stat().st_size)
    content = data.read_bytes()
    data.rename(saved.parent / "elsewhere")
    for make in (lambda: data.symlink_to(saved.parent / "elsewhere"), lambda: os.mkfifo(data)):
        make()
        with pytest.raises(RefusedError, match="is a link or a special file"):
            load_checkpoint(saved, "state")
        data.unlink()
    data.write_bytes(content)
    saved.rename(saved.parent / "moved")
    saved.symlink_to(saved.parent / "moved")
    with pytest.raises(RefusedError, match="is a symbolic link"):
        load_checkpoint(saved, "state")


def test_a_checkpoint_far_larger_than_its_network_is_refused_unread(saved):
    with (saved / "state" / "extra").open("wb") as file:
        file.truncate(20 * 2**30)
    with pytest.raises(RefusedError, match=r"holds 21,474,.* bytes, more than the .* this network may need"):
        load_checkpoint(saved, "state", make_items()["state"])


def test_a_deleted_checkpoint_is_gone(saved):
    delete_checkpoint(saved)
    assert list(saved.parent.iterdir()) == []


def test_it_loads_in_a_process_with_another_number_of_devices(saved):
    code = f"""
from pathlib import Path
from medjax.runs.checkpoint import load_checkpoint
print(load_checkpoint(Path({str(saved)!r}), "parameters")["dense"]["kernel"].sum())
"""
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert float(result.stdout) == 15.0


def test_what_the_writing_library_raises_on_a_full_disk_is_an_oserror_with_the_place(tmp_path, monkeypatch):
    def full(*_):
        raise ValueError("RESOURCE_EXHAUSTED: no space left on device")

    monkeypatch.setattr(v1, "save_checkpointables", full)
    with pytest.raises(OSError, match="no space left on device") as caught:
        save_checkpoint(tmp_path / "epoch_0001", make_items())
    assert caught.value.filename == str(tmp_path / "epoch_0001")
