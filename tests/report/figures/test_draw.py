import numpy as np
import pytest
from PIL import Image

from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.records import Predictions, concatenate_predictions
from medjax.report.figures.draw import draw_figures

HISTORY = [
    {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 0.9, "val_accuracy": 0.6}
    for epoch in range(3)
]

ALL = ["augmented", "confusion_matrix", "curves", "errors", "ranking", "reliability", "samples", "unsure"]


def draw(directory, *, num_errors=2, is_augmented=True, repeats=1, history=HISTORY):
    dataset = make_phantom(images_per_class=3)
    samples = np.arange(0, 18, 3)
    probabilities = np.eye(6, dtype=np.float32)[dataset.labels]
    probabilities[:num_errors] = np.roll(probabilities[:num_errors], 1, axis=1)
    once = Predictions(np.arange(18), dataset.labels, probabilities, np.zeros(18, np.float32))
    predictions = concatenate_predictions([once] * repeats) if repeats else None
    augmented = np.zeros((6, 2, 64, 64, 1), np.float32) if is_augmented else None
    draw_figures(directory / "figures", dataset, samples, augmented, predictions, history)
    return sorted(path.name for path in (directory / "figures").iterdir())


@pytest.mark.parametrize("num_errors", [0, 2])
def test_every_figure_is_drawn_and_is_a_picture(tmp_path, num_errors):
    names = draw(tmp_path, num_errors=num_errors)
    assert [name.removesuffix(".png") for name in names] == ALL
    for name in names:
        with Image.open(tmp_path / "figures" / name) as image:
            assert image.size[0] > 300


def test_without_augmentation_its_figure_is_left_out(tmp_path):
    assert "augmented.png" not in draw(tmp_path, is_augmented=False)


def test_predictions_of_all_folds_and_repeats_are_drawn_as_those_of_a_test_part_are(tmp_path):
    history = [{**row, "fold": fold} for fold in range(6) for row in HISTORY]
    assert len(draw(tmp_path, repeats=2, history=history)) == len(ALL)


def test_without_predictions_what_needs_them_is_left_out(tmp_path):
    assert draw(tmp_path, repeats=0) == ["augmented.png", "curves.png", "samples.png"]


def test_no_figure_is_written_through_a_link(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "figures").symlink_to("theirs")
    with pytest.raises(RefusedError, match="figures: is a symbolic link"):
        draw(tmp_path, repeats=0)
    assert list((tmp_path / "theirs").iterdir()) == []
