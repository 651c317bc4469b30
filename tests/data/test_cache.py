"""The cache: the same data set again, and nothing of what a stranger or a bad disk left there."""

import os
import stat
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.config import DataConfig
from medjax.data import cache
from medjax.data import load as sources
from medjax.data.cache import cache_folder, cache_key, file_stamp, read_cached, write_cached
from medjax.data.load import load
from medjax.errors import Problem
from medjax.files import Folder
from medjax.records import Dataset, LoadCounts, Window
from tests.sample_files import medmnist_arrays, small_set, snapshot, write_folder, write_npz, write_zip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    return write_zip(tmp_path / "set.zip", small_set())


def make_dataset(n=3, split=None):
    return Dataset(
        images=np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3),
        labels=np.arange(n, dtype=np.int32),
        class_names=("a", "é"),
        ids=np.array([f"é/{i}" for i in range(n)]),
        digests=np.zeros((n, 32), np.uint8),
        name="",
        split=split,
        counts=LoadCounts(resized=n, skipped=2),
        window=Window(0, 4095, 200),
        source_sizes=((2, 3), (40, 50)),
        bad=(Problem("é/9", "is empty", "copy it again"),),
    )


def assert_same(first, second):
    for name in Dataset._fields:
        one, other = getattr(first, name), getattr(second, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def no_decoding(monkeypatch):
    monkeypatch.setattr(sources, "_load", lambda *_: pytest.fail("decoded again"))


@pytest.mark.parametrize("split", [None, np.array(["train", "val", "test"])])
def test_what_is_written_is_read(folder, split):
    write_cached("key", make_dataset(split=split))
    assert_same(read_cached("key"), make_dataset(split=split))
    assert read_cached("other") is None


@pytest.mark.parametrize("kind", ["zip", "folder", "npz"])
def test_the_second_load_decodes_nothing(folder, tmp_path, monkeypatch, kind):
    make = {
        "zip": lambda: write_zip(tmp_path / "set.zip", small_set()),
        "folder": lambda: write_folder(tmp_path / "set", {**small_set(), "README": b"x"}),
        "npz": lambda: write_npz(tmp_path / "set.npz", medmnist_arrays()),
    }
    path = make[kind]()
    first = load(path)
    assert_same(first, load(path, DataConfig(cache=False)))
    no_decoding(monkeypatch)
    assert_same(first, load(path))
    assert_same(first, load(path))


def test_the_same_archive_elsewhere_has_its_own_name(folder, source, monkeypatch):
    load(source)
    no_decoding(monkeypatch)
    assert load(source.rename(source.with_name("other.zip"))).name == "other"


def test_nothing_is_read_or_written_unless_wanted(folder, source):
    load(source, DataConfig(cache=False))
    assert not folder.exists()


@pytest.mark.parametrize(
    "change",
    [{"image_size": 9}, {"color": "rgb"}, {"ignore": ("x",)}, {"follow_links": True}, {"max_megapixels": 3.0},
     {"window": "auto"}, {"window": (0, 9)}, {"fit": "pad"}, {"background": "white"}, {"skip_bad": True},
     {"max_bad": 0.5}],
)  # fmt: skip
def test_other_settings_have_other_keys(change):
    assert cache_key("stamp", DataConfig(**change)) != cache_key("stamp", DataConfig())


def test_keys_depend_on_source_format_and_pillow_but_not_on_switch_or_groups(monkeypatch):
    key = cache_key("stamp", DataConfig())
    assert cache_key("stamp", DataConfig(cache=False)) == key
    assert cache_key("stamp", DataConfig(groups="patients.csv")) == key
    assert cache_key("stamp", DataConfig(group_duplicates="near", near_threshold=3.0)) == key
    assert cache_key("other", DataConfig()) != key
    monkeypatch.setattr(cache, "FORMAT", -1)
    assert cache_key("stamp", DataConfig()) != key
    monkeypatch.undo()
    monkeypatch.setattr("PIL.__version__", "0")
    assert cache_key("stamp", DataConfig()) != key


def test_a_changed_archive_is_decoded_again(folder, source):
    before = load(source)
    write_zip(source, small_set(3))
    assert len(load(source).labels) == len(before.labels) + 2


def test_a_changed_folder_is_decoded_again(folder, tmp_path):
    root = write_folder(tmp_path / "set", small_set())
    before = load(root)
    (root / "cat/0.png").write_bytes(small_set(9)["cat/8.png"])
    assert not np.array_equal(load(root).images, before.images)


def test_folder_and_files_are_private(folder, source):
    load(source)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


@given(st.data())
@settings(deadline=None)
def test_every_flipped_byte_is_found(tmp_path_factory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        write_cached("key", make_dataset())
        path = cache_folder() / "key"
        whole = path.read_bytes()
        position = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(
            whole[:position]
            + bytes([whole[position] ^ data.draw(st.integers(1, 255))])
            + whole[position + 1 :]
        )
        assert read_cached("key") is None
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert read_cached("key") is None
        path.write_bytes(whole)
        assert_same(read_cached("key"), make_dataset())


def test_an_entry_that_does_not_fit_into_memory_is_not_read(folder, monkeypatch):
    write_cached("key", make_dataset())
    monkeypatch.setattr(cache, "available_memory", lambda: 500)
    assert read_cached("key") is None
    monkeypatch.undo()


def test_damage_is_overwritten(folder, source, monkeypatch):
    first = load(source)
    (path,) = folder.iterdir()
    path.write_bytes(b"foreign")
    assert_same(load(source), first)
    no_decoding(monkeypatch)
    assert_same(load(source), first)


def test_a_file_with_objects_in_it_is_never_unpickled(folder):
    import hashlib
    import io

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "evil"),))

    folder.mkdir(mode=0o700)
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    checksum = hashlib.sha256(buffer.getvalue()).hexdigest().encode() + b"\n"
    (folder / "key").write_bytes(checksum + buffer.getvalue())
    assert read_cached("key") is None
    assert not (folder / "evil").exists()


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_can_write_to_is_not_used(folder, source, mode):
    folder.mkdir()
    folder.chmod(mode)
    before = snapshot(folder)
    with pytest.warns(UserWarning, match="others can write there") as warned:
        dataset = load(source)
    assert len(warned) == 1
    assert len(dataset.labels) == 4
    assert snapshot(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs user ids")
def test_a_folder_of_somebody_else_is_not_used(folder, source, monkeypatch):
    load(source)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.warns(UserWarning, match="others can write there"):
        assert len(load(source).labels) == 4


def test_a_cache_that_cannot_be_written_only_warns(folder, source):
    folder.write_text("a file stands in the way")
    with pytest.warns(UserWarning, match="cannot write") as warned:
        assert len(load(source).labels) == 4
    assert len(warned) == 1


def test_a_full_disk_only_warns_and_leaves_nothing(folder, source, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write_dataset", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert len(load(source).labels) == 4
    assert list(folder.iterdir()) == []


def test_nothing_is_written_through_a_link(folder, tmp_path):
    folder.mkdir(mode=0o700)
    (folder / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="key: is a symbolic link"):
        write_cached("key", make_dataset())
    assert not (tmp_path / "elsewhere").exists()


def test_refused_sources_are_not_kept(folder, tmp_path):
    with pytest.raises(ValueError, match="one class"):
        load(write_folder(tmp_path / "set", {"cat/1.png": small_set()["cat/0.png"]}))
    assert not folder.exists()


def test_the_folder_is_the_users_unless_set(monkeypatch):
    monkeypatch.delenv("MEDJAX_CACHE_DIR")
    assert cache_folder().name == "medjax"


def test_a_files_stamp_is_its_sha256(tmp_path):
    (tmp_path / "empty").touch()
    assert file_stamp(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_no_warnings_in_ordinary_use(folder, source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(source)
        load(source)


@pytest.mark.parametrize("put_back", [True, False])
def test_an_archive_that_is_replaced_while_it_is_read_is_not_kept(folder, source, monkeypatch, put_back):
    """Nor when the first one is put back after that: its sha256 is the same, its change time is not."""
    other = write_zip(source.with_name("other.zip"), small_set(3))
    read = sources._load

    def replaced_after_hashing(path, *arguments):
        kept = source.rename(source.with_name("kept.zip"))
        other.rename(source)
        dataset = read(path, *arguments)
        if put_back:
            source.rename(other)
            kept.rename(source)
        return dataset

    before = source.read_bytes()
    monkeypatch.setattr(sources, "_load", replaced_after_hashing)
    with pytest.warns(UserWarning, match=r"set\.zip was changed while it was read, so it is not kept"):
        assert len(load(source).labels) == 6
    assert not folder.exists()
    assert (source.read_bytes() == before) == put_back


def test_an_archive_that_is_written_to_unnoticed_is_not_kept(folder, source, monkeypatch):
    monkeypatch.setattr(sources, "file_identity", lambda path: ())
    read = sources._load
    monkeypatch.setattr(sources, "_load", lambda *arguments: (read(*arguments), source.write_bytes(b"x"))[0])
    with pytest.warns(UserWarning, match="was changed while it was read"):
        load(source)
    assert not folder.exists()


def test_a_folder_that_changes_while_it_is_read_is_not_kept(folder, tmp_path, monkeypatch):
    root = write_folder(tmp_path / "set", small_set())
    read = sources._load

    def changing(*arguments):
        dataset = read(*arguments)
        (root / "cat/0.png").write_bytes(small_set(9)["cat/8.png"])
        return dataset

    monkeypatch.setattr(sources, "_load", changing)
    with pytest.warns(UserWarning, match="set was changed while it was read"):
        load(root)
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_an_entry_is_not_waited_for(folder, source):
    first = load(source)
    (path,) = folder.iterdir()
    path.unlink()
    os.mkfifo(path)
    assert_same(load(source), first)


@pytest.mark.skipif(os.name != "posix", reason="needs descriptors of folders")
def test_a_cache_that_is_replaced_after_it_was_looked_at_is_not_written_to(
    folder, source, tmp_path, monkeypatch
):
    (tmp_path / "theirs").mkdir()
    is_private = cache._is_private

    def replaced(opened):
        folder.rename(tmp_path / "moved")
        folder.symlink_to(tmp_path / "theirs")
        return is_private(opened)

    folder.mkdir(mode=0o700)
    monkeypatch.setattr(cache, "_is_private", replaced)
    write_cached("key", make_dataset())
    assert list((tmp_path / "theirs").iterdir()) == []
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["key"]


def test_what_was_not_used_for_longest_makes_room(folder, monkeypatch):
    """A data set takes 36 bytes of images here, and an entry about 2,000."""
    keys = [character * 64 for character in "abcd"]
    for age, key in enumerate(keys[:3]):
        write_cached(key, make_dataset())
        os.utime(folder / key, (1000 - age, 1000 - age))
    (folder / "compiled").mkdir()
    (folder / f"{keys[0]}.{'0' * 16}.partial").write_bytes(bytes(5000))
    os.utime(folder / f"{keys[0]}.{'0' * 16}.partial", (1, 1))
    assert read_cached(keys[2]) is not None  # the oldest is used
    size = (folder / keys[0]).stat().st_size
    monkeypatch.setenv("MEDJAX_CACHE_LIMIT", str((2 * size + 50) / 1e9))
    write_cached(keys[3], make_dataset())
    assert sorted(os.listdir(folder)) == sorted([keys[0], keys[2], keys[3], "compiled"])


def test_an_entry_that_another_process_removes_is_no_failure(folder, monkeypatch):
    write_cached("a" * 64, make_dataset())
    remove = Folder.remove

    def late(self, name):
        if name == "a" * 64:
            os.unlink(folder / name)
            os.unlink(folder / name)
        remove(self, name)

    monkeypatch.setattr(Folder, "remove", late)
    monkeypatch.setenv("MEDJAX_CACHE_LIMIT", "4e-8")
    write_cached("b" * 64, make_dataset())  # a warning is an error here
    assert os.listdir(folder) == ["b" * 64]


@pytest.mark.parametrize(
    ("limit", "message"),
    [("0", "needs 36 bytes, more than MEDJAX_CACHE_LIMIT"), ("much", "is no number of gigabytes")],
)
def test_limits_that_keep_nothing_or_are_none_are_warned_of(folder, monkeypatch, limit, message):
    monkeypatch.setenv("MEDJAX_CACHE_LIMIT", limit)
    with pytest.warns(UserWarning, match=message):
        write_cached("key", make_dataset())
    assert (read_cached("key") is None) == (limit == "0")
