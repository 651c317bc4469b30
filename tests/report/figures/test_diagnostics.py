"""Figures of what probabilities are worth: what is drawn is what was given."""

import numpy as np
from matplotlib.colors import to_hex

from medjax.report.figures.diagnostics import Band, Curve, plot_ranking, plot_reliability

DIAGONAL = Curve(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.75, 1.0]))


def test_each_class_that_has_a_curve_is_a_line_with_its_name():
    figure = plot_ranking({"CXR": DIAGONAL}, {"CXR": DIAGONAL, "Hand": DIAGONAL}, ["CXR", "Hand"])
    left, right = figure.axes
    assert [line.get_label() for line in left.lines[1:]] == ["CXR"]  # the first is chance
    assert [line.get_label() for line in right.lines] == ["CXR", "Hand"]
    np.testing.assert_array_equal(left.lines[1].get_ydata(), DIAGONAL.y)


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    figure = plot_ranking({"_CXR": DIAGONAL}, {}, ["_CXR"])
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["_CXR"]


def test_without_any_curve_there_is_still_a_figure():
    assert len(plot_ranking({}, {}, ["CXR"]).axes) == 2


def test_a_band_has_the_color_of_its_curve_and_the_point_its_place():
    band = Band(DIAGONAL.x, DIAGONAL.y - 0.1, DIAGONAL.y + 0.1)
    left, _ = plot_ranking({"Hand": DIAGONAL}, {}, ["CXR", "Hand"], band=band, point=(0.25, 0.75)).axes
    assert left.get_title(loc="left") == "ROC with its 95 % band"
    assert to_hex(left.collections[0].get_facecolor()[0]) == to_hex(left.lines[1].get_color())
    assert left.lines[2].get_xydata().tolist() == [[0.25, 0.75]]


def test_a_class_keeps_its_color_in_both():
    figure = plot_ranking({"Hand": DIAGONAL}, {"CXR": DIAGONAL, "Hand": DIAGONAL}, ["CXR", "Hand"])
    left, right = figure.axes
    assert left.lines[1].get_color() == right.lines[1].get_color() != right.lines[0].get_color()


def test_counts_of_images_are_plain_numbers():
    figure = plot_reliability(
        np.array([0.0, 0.5, 1.0]), np.array([0, 8000]), np.array([np.nan, 0.9]), np.ones(2)
    )
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert "1,000" in labels
    assert not any("$" in label for label in labels)


def test_empty_bins_are_left_out_of_the_reliability_line():
    nan = np.nan
    figure = plot_reliability(
        np.array([0.0, 0.5, 1.0]), np.array([0, 8]), np.array([nan, 0.9]), np.array([nan, 0.75])
    )
    top, bottom = figure.axes
    assert top.lines[1].get_xydata().tolist() == [[0.9, 0.75]]
    assert [bar.get_height() for bar in bottom.patches] == [0, 8]


def test_bands_and_what_was_before_calibration_are_drawn_where_there_are_any():
    nan = np.nan
    bands = np.array([[nan, nan], [0.5, 0.8], [nan, nan]])
    before = Curve(np.array([0.2, nan, 0.9]), np.array([0.3, nan, 0.6]))
    shares = np.array([nan, 0.6, 0.9])
    top, _ = plot_reliability(
        np.array([0.0, 0.3, 0.6, 1.0]), np.array([0, 5, 3]), shares, shares, bands=bands, before=before
    ).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in top.lines}
    assert drawn["before calibration"] == [[0.2, 0.3], [0.9, 0.6]]
    assert drawn["calibrated"] == [[0.6, 0.6], [0.9, 0.9]]
    assert [segment.tolist() for segment in top.collections[0].get_segments()] == [[[0.6, 0.5], [0.6, 0.8]]]
