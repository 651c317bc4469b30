import numpy as np
import pytest
from PIL import Image

from medjax.data import make_phantom
from medjax.records import Predictions
from medjax.report.figures import draw_figures

HISTORY = [
    {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 0.9, "val_accuracy": 0.6}
    for epoch in range(3)
]


def draw(directory, *, num_errors=2, is_augmented=True):
    dataset = make_phantom(images_per_class=3)
    samples = np.arange(0, 18, 3)
    probabilities = np.eye(6, dtype=np.float32)[dataset.labels]
    probabilities[:num_errors] = np.roll(probabilities[:num_errors], 1, axis=1)
    predictions = Predictions(np.arange(18), dataset.labels, probabilities, np.zeros(18, np.float32))
    augmented = np.zeros((6, 2, 64, 64, 1), np.float32) if is_augmented else None
    draw_figures(directory / "figures", dataset, samples, augmented, predictions, HISTORY)
    return sorted(path.name for path in (directory / "figures").iterdir())


@pytest.mark.parametrize("num_errors", [0, 2])
def test_every_figure_is_drawn_and_is_a_picture(tmp_path, num_errors):
    names = draw(tmp_path, num_errors=num_errors)
    assert names == ["augmented.png", "confusion_matrix.png", "curves.png", "errors.png", "samples.png"]
    for name in names:
        with Image.open(tmp_path / "figures" / name) as image:
            assert image.size[0] > 300


def test_without_augmentation_its_figure_is_left_out(tmp_path):
    assert "augmented.png" not in draw(tmp_path, is_augmented=False)
