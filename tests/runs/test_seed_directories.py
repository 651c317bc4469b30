"""Which folders are run directories of a seed."""

from medjax.runs.seed_directories import list_seeds, seed_directory


def test_every_seed_has_a_folder_that_tells_it(tmp_path):
    for seed in (12, 0, 2**32 - 1):
        seed_directory(tmp_path, seed).mkdir()
    for name in ("seed_1", "seed_0001x", "seeds_0001", "figures"):
        (tmp_path / name).mkdir()
    assert seed_directory(tmp_path, 12).name == "seed_0012"
    assert list_seeds(tmp_path) == [0, 12, 2**32 - 1]


def test_what_is_no_folder_has_none(tmp_path):
    assert list_seeds(tmp_path / "nothing") == []
    (tmp_path / "file").touch()
    assert list_seeds(tmp_path / "file") == []
