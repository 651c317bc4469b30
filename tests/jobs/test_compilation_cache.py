"""Compiled programs on disk: used again, never by way of a folder that is not the user's alone."""

import json
import os
import stat
import subprocess
import sys

import jax
import pytest

from medjax.errors import RefusedError
from medjax.files import Folder
from medjax.jobs.compilation_cache import use_compilation_cache
from medjax.jobs.restored_run import load_run
from tests.finished_runs import assert_same_result

COUNTED = """
import json, sys
from collections import Counter
import jax
from medjax import cli
events = Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rpartition("/")[2]]))
try:
    cli.main(sys.argv[1:])
except SystemExit as ended:
    print(json.dumps({"status": ended.code, "hits": events["cache_hits"], "misses": events["cache_misses"]}))
"""


def count(cache_dir, *arguments):
    """How a command ends, and how many programs it found or missed in the compilation cache."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment["MEDJAX_CACHE_DIR"] = str(cache_dir)
    command = [sys.executable, "-c", COUNTED, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def restored_config():
    """JAX's settings as they were."""
    names = [
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    ]
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.slow
def test_a_second_run_compiles_nothing_and_leaves_the_same_bits(phantom_folder, tmp_path):
    line = ["train", phantom_folder, "--epochs", 1, "--hidden-units", 0, "--no-augment"]
    first = count(tmp_path / "cache", *line, "--compilation-cache", "--run", tmp_path / "first")
    assert first["status"] == 0
    assert first["misses"] > 3  # init, train, end of the epoch, evaluate, and small ones
    second = count(tmp_path / "cache", *line, "--compilation-cache", "--run", tmp_path / "second")
    assert second == {"status": 0, "hits": first["misses"] + first["hits"], "misses": 0}
    runs = [load_run(tmp_path / name) for name in ("first", "second")]
    assert_same_result(*runs)
    # No part of a run's settings: it continues with the cache or without.
    assert "compil" not in json.dumps(runs[0].record["config"])
    plain = count(tmp_path / "cache", *line, "--run", tmp_path / "first", "--resume")
    assert plain == {"status": 0, "hits": 0, "misses": 0}
    entries = list((tmp_path / "cache" / "compiled").iterdir())
    assert entries
    count(tmp_path / "cache", "evaluate", tmp_path / "first")
    assert list((tmp_path / "cache" / "compiled").iterdir()) == entries  # not without the option
    evaluated = count(tmp_path / "cache", "evaluate", tmp_path / "first", "--compilation-cache")
    assert evaluated["hits"] > 0


def test_the_folder_is_made_for_the_user_alone(tmp_path, monkeypatch, restored_config):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    before = os.umask(0o002)
    try:
        folder = use_compilation_cache()
    finally:
        os.umask(before)
    assert folder == tmp_path / "cache" / "compiled"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o700, 0o700]
    assert jax.config.jax_compilation_cache_dir == str(folder.resolve())
    assert use_compilation_cache(tmp_path / "other") == tmp_path / "other"


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(mode, tmp_path, restored_config):
    before = jax.config.jax_compilation_cache_dir
    tmp_path.chmod(mode)
    with pytest.raises(
        RefusedError, match=f"{tmp_path}: can be written by others .mode {mode:o}. .delete it"
    ):
        use_compilation_cache(tmp_path)
    assert jax.config.jax_compilation_cache_dir == before


def test_a_folder_that_others_can_replace_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    for mode in (0o777, 0o775, 0o757):
        (tmp_path / "open").chmod(mode)
        for folder in (tmp_path / "open" / "compiled", tmp_path / "open" / "new" / "compiled"):
            with pytest.raises(RefusedError, match=rf"open: can be written by others \(mode {mode:o}\), who"):
                use_compilation_cache(folder)
    assert list((tmp_path / "open").iterdir()) == []
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(RefusedError, match="open: can be written by others"):
        use_compilation_cache(tmp_path / "link" / "compiled")


def test_a_folder_above_it_may_be_sticky_as_that_of_temporary_files_is(tmp_path, restored_config):
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    use_compilation_cache(tmp_path / "sticky" / "compiled")
    use_compilation_cache(tmp_path / "sticky" / "compiled")


@pytest.mark.parametrize(("user", "is_trusted"), [("mine", True), ("root", True), ("another", False)])
def test_a_folder_above_it_is_this_users_or_roots(user, is_trusted, tmp_path, monkeypatch, restored_config):
    me = os.geteuid()
    owners = {"mine": me, "root": 0, "another": me + 1}
    real = Folder.own_status

    def own_status(folder):
        status = real(folder)
        if folder.path != tmp_path / "above":
            return status
        return os.stat_result([*status[:4], owners[user], *status[5:10]])

    monkeypatch.setattr(Folder, "own_status", own_status)
    (tmp_path / "above").mkdir()
    if is_trusted:
        use_compilation_cache(tmp_path / "above" / "compiled")
    else:
        with pytest.raises(RefusedError, match="above: belongs to another user, who"):
            use_compilation_cache(tmp_path / "above" / "compiled")


def test_a_program_that_others_can_write_to_is_refused(tmp_path, restored_config):
    folder = tmp_path / "compiled"
    use_compilation_cache(folder)
    (folder / "program").touch()
    (folder / "program").chmod(0o666)
    use_compilation_cache(folder)  # nobody else can come in
    folder.chmod(0o755)
    with pytest.raises(RefusedError, match="program: is a link, or can be written by others"):
        use_compilation_cache(folder)
    (folder / "program").unlink()
    (folder / "program").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="program: is a link"):
        use_compilation_cache(folder)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(RefusedError, match="belongs to another user"):
        use_compilation_cache(tmp_path)


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError, match="file: is not a folder"):
        use_compilation_cache(tmp_path / "file")
