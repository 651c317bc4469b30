"""What images of other data are to a run: known by their pixels first, then by their names."""

import numpy as np
import pytest

from medjax.data.from_arrays import make_dataset
from medjax.errors import RefusedError
from medjax.jobs.overlap import OWN, find_overlap, write_kinds, write_own_images
from medjax.report import wording

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4), dtype=np.uint8)
IDS = ["a,b/1.png", "=2.png", "3", "4", "5", "6", "7", "8"]


def dataset_of(numbers, ids=None):
    return make_dataset(IMAGES[numbers], [0, 1] * (len(numbers) // 2), ids=ids or [IDS[n] for n in numbers])


@pytest.fixture
def run_dir(tmp_path):
    write_own_images(tmp_path, dataset_of([0, 1, 2, 3, 4, 5]))
    return tmp_path


def test_each_image_is_of_one_kind(run_dir, tmp_path):
    """Trained on; held back, under another name; a name of the run with other pixels; new."""
    data = dataset_of([0, 1, 6, 7], ids=["a,b/1.png", "renamed", "3", "8"])
    overlap = find_overlap(run_dir, data, np.array([True, False, False, False]))
    assert overlap.kinds.tolist() == ["trained", "held_back", "changed", "new"]
    assert overlap.missing == ["4", "5", "6"]
    assert overlap.is_mostly_own
    counts = overlap.describe()
    assert counts["missing"] == {"n": 3, "named": ["4", "5", "6"]}
    assert wording.overlap(counts) == (
        "the run's own images: 2 of 4 (1 trained on, 1 held back); new: 1; named as one of the run's, with other pixels: 1; "
        "missing of the run's 6: 3 (4, 5, 6)"
    )
    write_kinds(tmp_path / "kinds.csv", data, overlap, [("color", "mean"), (), (), ()])
    lines = (tmp_path / "kinds.csv").read_text().splitlines()
    assert lines[:2] == ["id,kind,outside_training_range", '"a,b/1.png",trained,color mean']
    assert lines[-1] == "6,missing,"


def test_data_from_elsewhere(run_dir):
    overlap = find_overlap(run_dir, dataset_of([6, 7]), np.zeros(2, bool))
    assert not overlap.is_mostly_own
    assert (
        wording.overlap(overlap.describe())
        == "the run's own images: 0 of 2 (0 trained on, 0 held back); new: 2"
    )


def test_the_same_images_under_other_classes_are_told_apart_from_others(run_dir):
    overlap = find_overlap(run_dir, dataset_of([0, 1, 2, 3, 4, 5]), np.zeros(6, bool))
    assert wording.overlap(overlap.describe()).endswith("missing of the run's 6: 0; ids or classes differ")


@pytest.mark.parametrize(
    "text", ["", "id\n1\n", "id,sha256\n1\n", f"id,sha256\n1,{'x' * 64}\n", "id,sha256\n1,ab\n", None]
)
def test_a_list_that_cannot_be_read_is_refused(run_dir, text):
    (run_dir / OWN).unlink()
    if text is not None:
        (run_dir / OWN).write_text(text)
    data = dataset_of([0, 1])
    with pytest.raises(RefusedError, match=r"images\.csv: cannot be read .*restore it from a copy"):
        find_overlap(run_dir, data, np.zeros(2, bool))
