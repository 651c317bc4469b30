"""`load` as a whole."""

import dataclasses
import gc
import itertools
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.config import DataConfig
from medjax.data import load as sources
from medjax.data.decoding.image import decode_image
from medjax.data.load import fingerprint, load
from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.records import LoadCounts
from tests.sample_files import (
    encode,
    jpeg,
    medmnist_arrays,
    parted_set,
    png,
    raw_png,
    small_set,
    snapshot,
    write_folder,
    write_npz,
    write_tar,
    write_zip,
)

PLAIN = DataConfig(image_size=6, cache=False)
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tar.xz")
SEEDS = st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True)


def write_all(folder: Path, tree: dict[str, bytes]) -> list[Path]:
    """The same files in every container, bare and in a wrapping folder."""
    paths = []
    for prefix in ("", "wrap/"):
        wrapped = {f"{prefix}{name}": data for name, data in tree.items()}
        home = folder / f"in-{prefix.rstrip('/')}"
        paths.append(write_folder(home / "set", wrapped))
        paths.append(write_zip(home / "set.zip", wrapped))
        paths += [
            write_tar(home / f"set{suffix}", dict(reversed(wrapped.items()))) for suffix in SUFFIXES[1:]
        ]
    return paths


def assert_same_images(first, second):
    for one, other in zip(first[:5], second[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.split, second.split)
    assert first.counts == second.counts
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("tree", [small_set(), parted_set()], ids=["plain", "parts"])
def test_containers_do_not_matter(tmp_path, tree):
    junk = {"README.md": b"hello", "__MACOSX/._x": b"junk", ".DS_Store": b"junk"}
    datasets = [load(path, PLAIN) for path in write_all(tmp_path, {**tree, **junk})]
    for dataset in datasets:
        assert_same_images(dataset, datasets[0])
    assert datasets[0].ids.tolist() == sorted(tree)
    assert datasets[0].counts.skipped == 3
    assert datasets[0].name == "set"


@given(SEEDS, st.data())
@settings(deadline=None, max_examples=15)
def test_containers_do_not_matter_whatever_the_names(tmp_path_factory, seeds, data):
    words = st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\.:"),
        min_size=1,
        max_size=5,
    )
    folders = [f"é{i}" + data.draw(words) for i in range(2)]
    tree = {f"{folders[i % 2]}/{data.draw(words)}{i}": png(seed) for i, seed in enumerate(seeds)}
    datasets = [load(path, PLAIN) for path in write_all(tmp_path_factory.mktemp("sets"), tree)]
    for dataset in datasets:
        assert_same_images(dataset, datasets[0])
    assert len(datasets[0].ids) == len(tree)


def test_a_data_set_is_what_the_contract_says(tmp_path):
    tree = small_set(3)
    dataset = load(write_folder(tmp_path / "set", tree), PLAIN)
    assert dataset.images.shape == (6, 6, 6, 1)
    assert dataset.images.dtype == dataset.digests.dtype == np.uint8
    assert dataset.labels.dtype == np.int32
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.split is None
    assert dataset.groups is None
    assert not dataset.is_synthetic
    assert dataset.counts == LoadCounts(resized=6, reshaped=6)
    for position, id in enumerate(dataset.ids):
        expected = decode_image(tree[id], PLAIN)
        np.testing.assert_array_equal(dataset.images[position], expected.pixels)
        np.testing.assert_array_equal(dataset.digests[position], expected.digest)


def test_parts_are_named_alike_whatever_their_folders(tmp_path):
    tree = {name.replace("val/", "Validation/"): data for name, data in parted_set().items()}
    dataset = load(write_folder(tmp_path, tree), PLAIN)
    assert set(dataset.split.tolist()) == {"train", "val", "test"}
    assert {id.split("/")[0] for id in dataset.ids[dataset.split == "val"]} == {"Validation"}


def test_names_of_files_say_nothing_of_their_format(tmp_path):
    tree = {"cat/a": png(1), "cat/b.jpg": png(2), "dog/c.png": jpeg(3), "dog/d.JPEG": jpeg(4)}
    assert len(load(write_folder(tmp_path, tree), PLAIN).ids) == 4


def test_every_change_is_counted(tmp_path):
    tree = {"cat/1": png(1, (6, 6)), "cat/2": png(2, (9, 9)), "dog/1": png(3, (9, 6)), "dog/2": png(4, (6, 6, 3)),
            "dog/3": raw_png(6, 6, bit_depth=16), "README": b"", "dog/.DS_Store": b"", "dog/4": b"bad", "meta.csv": b"a,b", "dog/notes.txt": b""}  # fmt: skip
    config = DataConfig(image_size=6, color="gray", window=(0, 65535), ignore=("dog/4",), cache=False)
    with pytest.warns(UserWarning, match="1 gray levels left"):
        dataset = load(write_folder(tmp_path, tree), config)
    assert dataset.counts == LoadCounts(
        resized=2, reshaped=1, recolored=1, rescaled=1, skipped=3, tables=1, ignored=1
    )


def test_color_is_the_sources_own_unless_chosen(tmp_path):
    root = write_folder(tmp_path, {"cat/1": png(1, (6, 6, 3)), "dog/1": png(2, (6, 6, 3))})
    assert load(root, PLAIN).images.shape[-1] == 3
    assert load(root, DataConfig(image_size=6, color="gray", cache=False)).images.shape[-1] == 1


def test_links_may_be_followed(tmp_path):
    root = write_folder(tmp_path / "set", {**small_set(), "dog/2.png": png(50)})
    (root / "cat/link.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "elsewhere.png").write_bytes(png(99))
    assert "cat/link.png" in load(root, DataConfig(follow_links=True, cache=False)).ids


def nested_set():
    """Two classes of four patients with two images each; the first image of cat/a is also in dog."""
    names = [f"{label}/{patient}/{i}.png" for label in ("cat", "dog") for patient in label for i in range(2)]
    return {name: png(i) for i, name in enumerate(names)}


@pytest.mark.parametrize("cache", [False, True])
def test_folders_in_class_folders_become_groups(tmp_path, cache):
    root = write_folder(tmp_path, nested_set())
    for _ in range(2):
        dataset = load(root, DataConfig(nested="group", cache=cache))
        assert dataset.class_names == ("cat", "dog")
        assert dataset.groups.tolist() == [id.split("/")[1] for id in dataset.ids]
        assert dataset.grouped_by == ("user",)
        assert load(root, DataConfig(nested="ignore", cache=cache)).groups is None


def test_groups_of_folders_are_merged_with_duplicates_and_a_groups_file(tmp_path):
    tree = nested_set()
    tree["cat/c/0.png"] = tree["cat/a/0.png"]
    root = write_folder(tmp_path / "set", tree)
    dataset = load(root, DataConfig(nested="group", cache=False))
    group_of = dict(zip(dataset.ids, dataset.groups, strict=True))
    assert dataset.grouped_by == ("user", "exact")
    assert len({group_of[f"cat/{patient}/{i}.png"] for patient in "ac" for i in range(2)}) == 1
    assert len(set(group_of.values())) == 5
    rows = "".join(f"{id},{'site' if id.startswith('dog') else id}\n" for id in dataset.ids)
    (tmp_path / "groups.csv").write_text("id,group\n" + rows)
    both = load(root, DataConfig(nested="group", groups=tmp_path / "groups.csv", cache=False))
    assert both.grouped_by == ("user", "exact")
    assert len(set(both.groups.tolist())) == 3


def test_a_groups_file_in_the_folder_is_no_table_of_labels(tmp_path):
    names = [f"{name}/{name}{i}.png" for name in ("cat", "dog") for i in range(4)]
    rows = "".join(f"{name.split('/')[1]},{i // 2}\n" for i, name in enumerate(names))
    tree = {name: png(i) for i, name in enumerate(names)}
    root = write_folder(tmp_path, {**tree, "groups.csv": b"id,group\n" + rows.encode()})
    with pytest.raises(RefusedError, match=r"groups\.csv: names the images"):
        load(root, PLAIN)
    dataset = load(root, DataConfig(groups=root / "groups.csv", cache=False))
    assert dataset.counts.tables == 1
    assert dataset.groups.tolist() == [str(number // 2) for number in range(8)]
    assert load(root, DataConfig(ignore=("groups.csv",), cache=False)).counts.ignored == 1


def test_labels_in_a_table_are_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "decode_listing", lambda *_: pytest.fail("decoded"))
    root = write_folder(tmp_path, {**small_set(), "meta.csv": b"image,dx\nx0,mel\n"})
    (root / "cat/0.png").rename(root / "cat/x0.png")
    with pytest.raises(RefusedError, match=r"meta\.csv: names the images in its rows, such as x0"):
        load(root, PLAIN)


def test_masks_are_named_before_colors_are_to_be_chosen(tmp_path):
    tree = {
        "cat/1_image.png": png(1, (6, 6, 3)),
        "cat/1_mask.png": png(2),
        "dog/2_image.png": png(3, (6, 6, 3)),
    }
    with pytest.raises(
        RefusedError, match=r"leave masks out: --ignore '\*_mask.png'; or choose --color gray"
    ):
        load(write_folder(tmp_path, tree), PLAIN)


def test_a_link_may_be_given_as_the_source(tmp_path):
    (tmp_path / "link").symlink_to(write_folder(tmp_path / "set", small_set()))
    assert load(tmp_path / "link", PLAIN).name == "set"


def test_the_current_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write_folder(tmp_path / "set", small_set()))
    assert load(".", PLAIN).name == "set"
    with pytest.raises(RefusedError):
        load("", PLAIN)


@pytest.mark.parametrize("depth", [8, 16])
def test_images_are_where_a_cpu_device_shares_them(tmp_path, monkeypatch, depth):
    """Else each would be in memory twice; from the cache too."""
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "set", deep_set(4095))
    for config in (
        DataConfig(window="auto", depth=depth),
        DataConfig(window="auto", depth=depth, image_size=224),
    ):
        for _ in range(2):
            images = load(folder, config).images
            on_device = jax.device_put(images, jax.devices("cpu")[0])
            assert on_device.unsafe_buffer_pointer() == images.ctypes.data


def test_progress_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("medjax.data.decoding.worker_pool._BATCH_IMAGES", 128)
    calls = []
    load(write_folder(tmp_path, small_set(100)), PLAIN, on_progress=lambda *call: calls.append(call))
    assert calls == [(128, 200), (200, 200)]


def test_loading_leaves_the_source_as_it_is(tmp_path):
    paths = write_all(tmp_path, small_set())
    before = snapshot(tmp_path)
    for path in paths:
        load(path, DataConfig(cache=True))
    assert snapshot(tmp_path) == before


def test_every_bad_image_is_listed(tmp_path):
    with pytest.raises(RefusedError) as refusal:
        load(write_folder(tmp_path, dict.fromkeys(small_set(50), b"bad")), PLAIN)
    assert [problem.name for problem in refusal.value.problems] == sorted(small_set(50))


def with_bad(count, images_per_class=40):
    """A sound set, and the names of its first images, which are damaged."""
    tree = small_set(images_per_class)
    names = sorted(tree)[:count]
    return {**tree, **dict.fromkeys(names, b"\x89PNG\r\n\x1a\n broken")}, names


SKIPPING = DataConfig(image_size=6, cache=False, skip_bad=True, max_bad=0.1)


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("cache", [False, True])
def test_bad_images_are_left_out_by_choice(tmp_path, kind, cache, monkeypatch):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    tree, names = with_bad(5)
    write = {"folder": write_folder, "zip": write_zip}[kind]
    path = write(tmp_path / {"folder": "set", "zip": "set.zip"}[kind], tree)
    sound = write_folder(tmp_path / "sound", {name: tree[name] for name in tree if name not in names})
    expected = load(sound, PLAIN)
    for _ in range(1 + cache):  # the second from the cache
        with pytest.warns(
            UserWarning, match="set: 5 of 80 images cannot be used and are left out: cat/0.png"
        ):
            dataset = load(path, dataclasses.replace(SKIPPING, cache=cache))
        for one, other in zip(dataset[:5], expected[:5], strict=True):
            np.testing.assert_array_equal(one, other)
        assert [problem.name for problem in dataset.bad] == names
        assert all("truncated" in problem.reason for problem in dataset.bad)
        assert dataset.counts.bad == 5
        monkeypatch.setattr(sources, "_load", lambda *_: pytest.fail("decoded again"))


def test_too_many_bad_images_are_refused_with_the_fraction_that_is_enough(tmp_path):
    tree, names = with_bad(9)
    root = write_folder(tmp_path, tree)
    with pytest.raises(RefusedError) as refusal:
        load(root, SKIPPING)
    first, *others = refusal.value.problems
    assert str(first) == (
        "--max-bad: 9 of 80 images cannot be used, a larger fraction than 0.1 (mend them, or give --max-bad 0.113)"
    )
    assert [problem.name for problem in others] == names
    with pytest.warns(UserWarning, match="9 of 80"):
        assert len(load(root, dataclasses.replace(SKIPPING, max_bad=0.113)).labels) == 71


def test_bad_images_are_refused_with_the_options_that_leave_them_out(tmp_path):
    root = write_folder(tmp_path, with_bad(5)[0])
    with pytest.raises(RefusedError) as refusal:
        load(root, PLAIN)
    assert str(refusal.value.problems[0]) == (
        "5 of 80 images: cannot be used (mend them, or leave them out: --skip-bad --max-bad 0.063)"
    )
    assert len(refusal.value.problems) == 6


@pytest.mark.parametrize(("tree", "lost"), [(small_set(), "dog"), (parted_set(), "test/dog")])
def test_a_class_or_part_that_loses_all_images_is_refused(tmp_path, tree, lost):
    bad = {name: b"" for name in tree if name.startswith(lost)}
    with pytest.raises(RefusedError) as refusal:
        load(write_folder(tmp_path, {**tree, **bad}), dataclasses.replace(SKIPPING, max_bad=0.5))
    assert [problem.name for problem in refusal.value.problems] == [lost]
    assert "has no image left: none of its 2 can be used" in str(refusal.value)


def test_wrong_names_are_refused_whatever_may_be_left_out(tmp_path):
    root = write_folder(tmp_path, {**with_bad(1)[0], "dog/deeper/1.png": png(1)})
    with pytest.raises(RefusedError, match="nested inside a class folder") as refusal:
        load(root, SKIPPING)
    assert len(refusal.value.problems) == 1


def deep_set(top):
    """Two classes of images whose values go from 0 to `top`."""
    ramp = np.linspace(0, top, 80).reshape(10, 8).astype(np.uint16)
    return {
        f"{name}/{n}.png": encode(np.roll(ramp, 8 * n + k)) for k, name in enumerate("ab") for n in range(3)
    }


@pytest.mark.parametrize(
    ("top", "high"), [(255, 255), (300, 1023), (4095, 4095), (9000, 16383), (65535, 65535)]
)
def test_the_window_is_that_of_the_bit_depth_in_use(tmp_path, top, high):
    root = write_folder(tmp_path, deep_set(top))
    config = DataConfig(image_size=8, window="auto", cache=False)
    dataset = load(root, config)
    assert dataset.window[:2] == (0, high)
    assert dataset.window.levels >= 64
    assert dataset.counts.rescaled == 6
    assert dataset.images.dtype == np.uint8
    assert abs(int(dataset.images.max()) - 255 * top / high) < 20
    deep = load(root, dataclasses.replace(config, depth=16))
    assert (deep.images.dtype, deep.window[:2], deep.window.bits) == (np.uint16, (0, high), 16)
    assert np.abs(deep.images / 257 - dataset.images).max() <= 0.5
    np.testing.assert_array_equal(deep.digests, dataset.digests)


def test_an_image_looks_the_same_whatever_else_is_in_the_set_but_for_the_bit_depth(tmp_path):
    tree = deep_set(4000)
    brighter = {**tree, "b/9.png": encode(np.full((10, 8), 4095, np.uint16))}
    config = DataConfig(image_size=8, window="auto", cache=False)
    first, second = (
        load(write_folder(tmp_path / n, each), config) for n, each in (("1", tree), ("2", brighter))
    )
    np.testing.assert_array_equal(first.images, second.images[:6])


def test_arrays_of_sixteen_bits_are_read_through_a_window(tmp_path):
    arrays = {
        name: array.astype(np.uint16) * 16 if name.endswith("images") else array
        for name, array in medmnist_arrays(12).items()
    }
    path = write_npz(tmp_path / "set.npz", arrays)
    with pytest.raises(RefusedError, match="--window auto"):
        load(path, PLAIN)
    dataset = load(path, DataConfig(image_size=8, window="auto", cache=False))
    assert dataset.window[:2] == (0, 4095)
    assert dataset.counts.rescaled == 36


def test_digests_do_not_depend_on_window_or_fit(tmp_path):
    root = write_folder(tmp_path, deep_set(4000))
    first, second = (
        load(root, DataConfig(window=window, fit=fit, cache=False))
        for window, fit in (("auto", "stretch"), ((100, 3000), "crop"))
    )
    assert not np.array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.digests, second.digests)


def test_a_depth_that_no_image_needs_is_warned_of(tmp_path):
    config = DataConfig(image_size=8, depth=16, cache=False)
    with pytest.warns(UserWarning, match="no image has more than 8 bits, so --depth 16 changes nothing"):
        assert load(write_folder(tmp_path, small_set()), config).images.dtype == np.uint8


def test_few_gray_levels_are_warned_of_from_the_cache_too(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_CACHE_DIR", str(tmp_path / "cache"))
    root = write_folder(tmp_path / "set", deep_set(4095))
    for _ in range(2):
        with pytest.warns(
            UserWarning, match="set: its 16-bit images have 1[0-9] gray levels left, read from 0 to 65535"
        ):
            dataset = load(root, DataConfig(window=(0, 65535)))
    assert dataset.window.levels < 20


def test_workers_send_sixteen_bits_and_sizes(tmp_path, monkeypatch):
    root = write_folder(tmp_path, {**deep_set(4095), "a/9.png": encode(np.full((30, 20), 7, np.uint16))})
    config = DataConfig(image_size=8, window="auto", cache=False)
    expected = load(root, config)
    monkeypatch.setattr("medjax.data.decoding.worker_pool.MIN_IMAGES_PER_WORKER", 2)
    monkeypatch.setattr("medjax.data.decoding.worker_pool._BATCH_IMAGES", 2)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    dataset = load(root, config)
    assert_same_images(dataset, expected)
    assert dataset.window == expected.window
    assert dataset.source_sizes == expected.source_sizes == ((8, 10), (20, 30))


def test_the_phantom(monkeypatch):
    monkeypatch.setattr(sources, "make_phantom", lambda: make_phantom(images_per_class=2))
    dataset, full = load("phantom", PLAIN), make_phantom(images_per_class=2)
    assert dataset.is_synthetic
    assert dataset.images.shape == (12, 6, 6, 1)
    assert dataset.counts == LoadCounts(resized=12)
    np.testing.assert_array_equal(dataset.digests, full.digests)
    assert load("phantom", DataConfig(color="rgb")).counts.recolored == 12
    assert fingerprint(dataset) == fingerprint(full)


def test_a_folder_called_phantom_is_given_by_its_path(tmp_path, monkeypatch):
    write_folder(tmp_path / "phantom", small_set())
    monkeypatch.chdir(tmp_path)
    assert load("./phantom", PLAIN).class_names == ("cat", "dog")


def test_fingerprints_see_ids_classes_digests_and_order(tmp_path):
    dataset = load(write_folder(tmp_path, small_set()), PLAIN)
    digests = dataset.digests.copy()
    digests[2, 7] ^= 1
    changed = [
        dataset._replace(ids=dataset.ids[::-1]),
        dataset._replace(class_names=("cat", "fox")),
        dataset._replace(labels=1 - dataset.labels),
        dataset._replace(digests=digests),
        dataset._replace(ids=dataset.ids[:3], labels=dataset.labels[:3], digests=dataset.digests[:3]),
    ]
    prints = [fingerprint(each) for each in [dataset, *changed]]
    assert len(set(prints)) == len(prints)
    assert all(len(each) == 64 for each in prints)
    # Pixels at the model's size and the way the classes are numbered are not part of it.
    renumbered = dataset._replace(labels=1 - dataset.labels, class_names=dataset.class_names[::-1])
    assert fingerprint(renumbered) == fingerprint(dataset)
    assert fingerprint(load(tmp_path, DataConfig(cache=False))) == fingerprint(dataset)


def test_importing_brings_nothing_heavy():
    code = (
        "import sys, medjax.data\n"
        "sys.exit(bool({'jax', 'scipy', 'sklearn', 'matplotlib', 'joblib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_whole_of_medical_mnist(medical_mnist):
    config = DataConfig(cache=False)
    calls = []
    dataset = load(medical_mnist, config, on_progress=lambda *call: calls.append(call))
    assert dataset.class_names == ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
    assert np.bincount(dataset.labels).tolist() == [10_000, 8_954, 10_000, 10_000, 10_000, 10_000]
    assert dataset.counts == LoadCounts(resized=58_954)
    assert calls[-1] == (58_954, 58_954)
    assert dataset.ids.tolist() == sorted(dataset.ids.tolist())
    # As measured when the archive was described: 440 redundant files.
    assert len(dataset.ids) - len(np.unique(dataset.digests, axis=0)) == 440
    assert list(itertools.islice(dataset.ids, 1)) == ["AbdomenCT/000000.jpeg"]


def test_workers_start_before_an_archive_is_listed(tmp_path, monkeypatch):
    order = []
    start, listing = sources.start_workers, sources.open_archive
    monkeypatch.setattr(sources, "start_workers", lambda *given: order.append("start") or start(*given))
    monkeypatch.setattr(sources, "open_archive", lambda *given: order.append("list") or listing(*given))
    load(write_zip(tmp_path / "set.zip", small_set()), PLAIN)
    assert order == ["start", "list"]


@pytest.mark.parametrize("is_enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(tmp_path, is_enabled):
    sound = write_zip(tmp_path / "sound.zip", small_set())
    bad = write_zip(tmp_path / "bad.zip", {**small_set(), "cat/bad.png": b"noise"})
    was_enabled = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        load(sound, PLAIN)
        assert gc.isenabled() == is_enabled
        with pytest.raises(RefusedError):
            load(bad, PLAIN)
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_a_fingerprint_is_of_lengths_and_parts():
    """Runs made before are compared with it: it may not change."""
    dataset = make_phantom()._replace(
        ids=np.array(["cat/1", "hund/ä"]),
        labels=np.array([0, 1], np.int32),
        class_names=("cat", "hund"),
        digests=np.repeat(np.array([[1], [2]], np.uint8), 32, axis=1),
    )
    assert fingerprint(dataset) == "d63c358ad7bb359f607d8aa82bf923cf9b004adee83b62feb03fe1550df34aa6"
