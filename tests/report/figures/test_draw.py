import numpy as np
import pytest
from PIL import Image

from medjax.data.phantom.dataset import make_phantom
from medjax.errors import RefusedError
from medjax.records import UNKNOWN, Predictions, concatenate_predictions
from medjax.report.figures import draw as drawing
from medjax.report.figures import fonts
from medjax.report.figures.draw import draw_figures

HISTORY = [
    {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 0.9, "val_accuracy": 0.6}
    for epoch in range(3)
]

ALL = ["augmented", "confusion_matrix", "curves", "errors", "ranking", "reliability", "samples", "unsure"]


def draw(directory, *, num_errors=2, is_augmented=True, repeats=1, history=HISTORY, names=None):
    dataset = make_phantom(images_per_class=3)
    if names is not None:
        ids = np.array([f"{names[label]}/{names[label]}_{n}.png" for n, label in enumerate(dataset.labels)])
        dataset = dataset._replace(class_names=tuple(names), ids=ids, name=names[0], is_synthetic=False)
    samples = np.arange(0, 18, 3)
    probabilities = np.eye(6, dtype=np.float32)[dataset.labels]
    probabilities[:num_errors] = np.roll(probabilities[:num_errors], 1, axis=1)
    once = Predictions(np.arange(18), dataset.labels, probabilities, np.zeros(18, np.float32))
    predictions = concatenate_predictions([once] * repeats) if repeats else None
    augmented = np.zeros((6, 2, 64, 64, 1), np.float32) if is_augmented else None
    failures = draw_figures(directory / "figures", dataset, samples, augmented, predictions, history)
    assert failures == {}
    return sorted(path.name for path in (directory / "figures").iterdir())


def described(path):
    with Image.open(path) as image:
        return image.info.get("Description", "").splitlines()


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


def test_of_several_labels_wrong_ones_are_named_the_furthest_from_their_threshold_first(
    tmp_path, monkeypatch
):
    dataset = make_phantom(images_per_class=1)
    names = dataset.class_names
    labels = np.eye(6, dtype=np.int32)
    labels[1, 2], labels[2, 0] = UNKNOWN, 1
    probabilities = np.where(labels == 1, 0.75, 0.125).astype(np.float32)
    probabilities[0, 0] = 0.0625  # missed
    probabilities[1, [2, 3]] = 0.875  # the first is not known
    probabilities[2, [0, 4, 5]] = 0.25, 0.5, 1.0
    thresholds = np.full(6, 0.5, np.float32)
    thresholds[0] = 0.375  # so that 0.25 is a third of the way to 0, and 0.0625 five sixths
    predictions = Predictions(np.arange(6), labels, probabilities, np.zeros(6, np.float32), names, thresholds)
    drawn = []
    plot = drawing.plots.plot_label_errors
    monkeypatch.setattr(
        drawing.plots,
        "plot_label_errors",
        lambda *given, **others: drawn.append(given) or plot(*given, **others),
    )
    dataset = dataset._replace(labels=labels)
    arguments = tmp_path / "figures", dataset, np.arange(6), None
    assert draw_figures(*arguments, predictions, HISTORY) == {}
    [(images, ids, captions)] = drawn
    assert ids == dataset.ids[[2, 0, 1]].tolist()
    np.testing.assert_array_equal(images, dataset.images[[2, 0, 1]])
    assert captions == [
        f"false: {names[5]} 1.00\nand 2 more",
        f"missed: {names[0]} 0.06",
        f"false: {names[3]} 0.88",
    ]
    expected = ["curves.png", "errors.png", "ranking.png", "reliability.png", "samples.png"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == expected
    right = predictions._replace(probabilities=np.where(labels == 1, 0.75, 0.125).astype(np.float32))
    assert draw_figures(*arguments, right, HISTORY) == {}


def test_no_figure_is_written_through_a_link(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "figures").symlink_to("theirs")
    with pytest.raises(RefusedError, match="figures: is a symbolic link"):
        draw(tmp_path, repeats=0)
    assert list((tmp_path / "theirs").iterdir()) == []


def test_names_that_no_font_has_get_numbers_that_the_figures_explain(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_installed", list)
    fonts._fallbacks.cache_clear()
    names = ["肺炎", "$\\frac{1}", "_x\n\x1b[2J\u202e", "x" * 300, " ", "صورة\u0301"]
    with pytest.warns(UserWarning, match="^no installed font has all letters of 1 name; ") as warned:
        assert [name.removesuffix(".png") for name in draw(tmp_path, names=names)] == ALL
    assert len(warned) == 1
    fonts._fallbacks.cache_clear()
    figures = tmp_path / "figures"
    assert described(figures / "confusion_matrix.png") == ["class 1: 肺炎"]
    assert described(figures / "errors.png")[:2] == ["class 1: 肺炎", "image 1: 肺炎/肺炎_0.png"]
    assert described(figures / "curves.png") == []


def test_a_figure_that_fails_is_named_and_costs_no_other(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise TypeError("no interval\nat all")

    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "errors.png").write_bytes(b"of an earlier run")
    monkeypatch.setattr(drawing, "plot_ranking", fail)
    monkeypatch.setattr(drawing.plots, "plot_errors", fail)
    with pytest.raises(AssertionError, match=r"'errors': 'TypeError: no interval', 'ranking': 'TypeError"):
        draw(tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {*ALL} - {"errors", "ranking"}


@pytest.mark.parametrize("num_errors", [0, 2])
def test_maps_are_of_errors_and_then_of_the_least_sure(tmp_path, num_errors):
    dataset = make_phantom(images_per_class=3)
    probabilities = (
        np.eye(6, dtype=np.float32)[dataset.labels] * np.linspace(0.6, 0.9, 18, dtype=np.float32)[:, None]
    )
    probabilities[:num_errors] = np.roll(probabilities[:num_errors], 1, axis=1)
    predictions = Predictions(np.arange(18), dataset.labels, probabilities, np.zeros(18, np.float32))
    asked = []

    def explain(rows):
        asked.append(rows.tolist())
        return np.ones((len(rows), 64, 64), np.float32)

    arguments = tmp_path / "figures", dataset, np.arange(0, 18, 3), None, predictions, HISTORY
    assert draw_figures(*arguments, explain=explain) == {}
    assert asked == [[*range(num_errors)[::-1], *range(num_errors, num_errors + 8)]]
    assert (tmp_path / "figures" / "maps.png").exists()

    def fail(rows):
        raise ValueError("no maps")

    assert draw_figures(*arguments, explain=fail) == {"maps": "ValueError: no maps"}
    assert not (tmp_path / "figures" / "maps.png").exists()
