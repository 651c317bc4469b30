"""Compiled kernels that are kept: taken where they are whole, compiled again where they are not."""

import ctypes

import jax
import pytest

from medjax.models.cpu_kernels import machine_code

TEXT = "define i64 @answer() { ret i64 %d }"


@pytest.fixture
def folder(tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def answer(number, identity):
    """What the code under an identity answers, and how often it was written as `number`."""
    written = []

    def write():
        written.append(number)
        return TEXT % number

    code = machine_code.load(write, identity)
    return ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("answer"))(), len(written)


def test_code_is_written_once_for_an_identity(folder):
    assert answer(1, ["one"]) == (1, 1)
    assert answer(2, ["one"]) == (1, 0)
    assert answer(2, ["two"]) == (2, 1)
    assert len(list(folder.iterdir())) == 2


def test_nothing_is_kept_unless_it_is_asked_for(folder):
    jax.config.update("jax_compilation_cache_dir", None)
    assert [answer(number, ["one"]) for number in (1, 2)] == [(1, 1), (2, 1)]
    jax.config.update("jax_compilation_cache_dir", str(folder / "not_there"))
    assert [answer(number, ["one"]) for number in (1, 2)] == [(1, 1), (2, 1)]
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert [answer(number, ["one"]) for number in (1, 2)] == [(1, 1), (2, 1)]
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("size", [0, 10, 32, -1])
def test_truncated_code_is_written_again(folder, size):
    answer(1, ["one"])
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:size])
    assert answer(1, ["one"]) == (1, 1)
    assert answer(1, ["one"]) == (1, 0)


def test_damaged_code_is_written_again(folder):
    answer(1, ["one"])
    [path] = folder.iterdir()
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert answer(1, ["one"]) == (1, 1)
    assert answer(1, ["one"]) == (1, 0)


def test_code_works_where_it_cannot_be_kept(folder, monkeypatch):
    def refuse(**options):
        raise PermissionError

    monkeypatch.setattr(machine_code.tempfile, "mkstemp", refuse)
    assert answer(1, ["one"]) == (1, 1)
    assert not list(folder.iterdir())


def test_code_for_another_processor_is_not_taken(folder, monkeypatch):
    answer(1, ["one"])
    monkeypatch.setattr(machine_code.llvm, "get_default_triple", lambda: "another")
    assert machine_code._read_cached(machine_code._cache_path(["one"])) is None
