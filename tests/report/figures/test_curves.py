"""Training curves: every epoch of every fold, gaps where a value is not finite, the same bytes each time."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from medjax.report.figures.curves import plot_curves
from medjax.report.figures.render import save_figure
from medjax.report.figures.style import BLUE, VERMILION


def history(epochs: int, **columns: float) -> list[dict[str, float]]:
    """Losses that halve every epoch from 1, accuracies that approach 1."""
    row = {"learning_rate": 1e-3, "seconds": 1.0}
    return [
        {
            **row,
            "epoch": epoch,
            "train_loss": 0.5**epoch,
            "val_loss": 1.1 * 0.5**epoch,
            "train_accuracy": 1 - 0.5 ** (epoch + 1),
            "val_accuracy": 1 - 0.5 ** (epoch + 1.1),
            **columns,
        }
        for epoch in range(epochs)
    ]


def folds(*lengths: int, **columns: float) -> list[dict[str, float]]:
    """A history of each length, their rows by epoch as folds that train side by side leave them."""
    rows = [row for fold, epochs in enumerate(lengths) for row in history(epochs, fold=fold, **columns)]
    return sorted(rows, key=lambda row: row["epoch"])


NO_VAL = {"val_loss": np.nan, "val_accuracy": np.nan}
NAN = {"train_loss": np.nan, "train_accuracy": np.nan, **NO_VAL}
FIGURES: dict[str, Callable[[], Figure]] = {
    "curves of 1 epoch": lambda: plot_curves(history(1)),
    "curves of 20 epochs": lambda: plot_curves(history(20)),
    "curves of 100 epochs": lambda: plot_curves(history(100)),
    "curves with one NaN": lambda: plot_curves([*history(3), *history(1, epoch=3, val_loss=np.nan)]),
    "curves with inf": lambda: plot_curves([*history(3), *history(1, epoch=3, train_loss=np.inf)]),
    "curves without a finite value": lambda: plot_curves(history(3, **NAN)),
    "curves of a loss of zero": lambda: plot_curves([*history(5), *history(1, epoch=5, train_loss=0.0)]),
    "curves of no epoch": lambda: plot_curves([]),
    "curves of 5 folds": lambda: plot_curves(folds(8, 8, 5, 8, 8)),
    "curves of 5 folds of 1 epoch": lambda: plot_curves(folds(1, 1, 1, 1, 1, **NO_VAL)),
    "curves of a fold that diverged": lambda: plot_curves(
        [*folds(4, 2), *history(1, fold=1, epoch=2, **NAN)]
    ),
}


def png(figure: Figure, path: Path) -> bytes:
    save_figure(figure, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_same_input_same_bytes_whatever_the_users_settings(name: str, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    first = png(FIGURES[name](), tmp_path / "first.png")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 20}):
        assert png(FIGURES[name](), tmp_path / "second.png") == first


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_curves_show_epochs_from_one() -> None:
    for axes in plot_curves(history(7)).axes:
        assert [line.get_label() for line in axes.lines] == ["train", "val"]
        assert list(axes.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6, 7]
        assert axes.get_xlabel() == "epoch"


def test_loss_is_on_a_log_scale_only_where_it_spans_more_than_ten() -> None:
    assert plot_curves(history(2)).axes[0].get_yscale() == "linear"
    wide = plot_curves(history(20))
    assert wide.axes[0].get_yscale() == "log"
    assert any("log scale" in text for text in texts(wide))


def test_accuracy_is_stretched_only_where_good_epochs_follow_bad_ones() -> None:
    assert plot_curves(history(20)).axes[1].get_yscale() == "function"
    good = plot_curves(history(20, train_accuracy=0.98, val_accuracy=1.0))
    assert good.axes[1].get_yscale() == "linear"
    assert plot_curves(history(2)).axes[1].get_yscale() == "linear"


def test_stretched_accuracy_shows_every_value_and_a_tick_at_one() -> None:
    axes = plot_curves([*history(12), *history(1, epoch=12, val_accuracy=1.0)]).axes[1]
    low, high = axes.get_ylim()
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    assert low < values.min()
    assert values.max() <= 1 < high
    heights = axes.transData.transform(np.column_stack([[1, 1, 1], [0.99, 0.999, 1]]))[:, 1]
    assert (np.diff(heights) > 0.05 * axes.bbox.height).all()
    assert 1 in axes.get_yticks()


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    loss = plot_curves([*history(3), *history(1, epoch=3, val_loss=np.inf)]).axes[0]
    assert list(np.isnan(loss.lines[1].get_ydata())) == [False, False, False, True]
    assert "no finite value" not in texts(loss.figure)
    assert texts(FIGURES["curves without a finite value"]()).count("no finite value") == 2


def test_each_fold_has_a_line_of_its_own_epochs_and_the_legend_one_entry_for_each_part() -> None:
    figure = plot_curves(folds(6, 4, 5))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["train", "val"]
    for axes, quantity in zip(figure.axes, ("loss", "accuracy"), strict=True):
        train, val = axes.lines[:4], axes.lines[4:]
        assert [len(line.get_xdata()) for line in train] == [6, 4, 5, 4]  # the last is the mean
        expected = [row[f"train_{quantity}"] for row in history(6)]
        assert list(train[0].get_ydata()) == expected
        assert {line.get_color() for line in train} == {BLUE}
        assert {line.get_color() for line in val} == {VERMILION}


def test_mean_of_the_folds_goes_as_far_as_every_fold_does() -> None:
    rows = [*history(4, fold=0), *history(3, fold=7, train_loss=2.0)]
    mean = plot_curves(rows).axes[0].lines[2]
    assert list(mean.get_xdata()) == [1, 2, 3]
    assert list(mean.get_ydata()) == [1.5, 1.25, 1.125]


@pytest.mark.parametrize("rows", [history(4, **NO_VAL), folds(4, 4, **NO_VAL)])
def test_without_validation_values_train_stands_alone(rows) -> None:
    figure = plot_curves(rows)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["train"]
    assert {line.get_color() for axes in figure.axes for line in axes.lines} == {BLUE}


def test_one_fold_of_many_looks_like_a_run_without_folds(tmp_path: Path) -> None:
    assert png(plot_curves(history(4, fold=3)), tmp_path / "one.png") == png(
        plot_curves(history(4)), tmp_path / "none.png"
    )
