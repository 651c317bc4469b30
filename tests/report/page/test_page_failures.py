"""What a page does with what it cannot show: the rest of it stands, a note and one warning say what is left out."""

import copy
from pathlib import Path

import matplotlib
import pytest

from medjax.errors import RefusedError
from medjax.report.figures.render import encode_figure
from medjax.report.page import page as page_module
from medjax.report.page.page import render_page, write_page_or_note
from tests.pages import FIGURES, METRICS, RUN, Page, rendered, write_run

GAIN = {"n": 540, "difference": 0.1, "ci95": None, "unit": "group"}
BASELINE = {"n": 540, "errors": 54, "accuracy": 0.9, "ci95": [0.88, 0.92], "ci95_grouped": None, "auc": None}
BASELINES = {
    "image_shape": [28, 28, 1],
    "models": {"majority": BASELINE},
    "best": "majority",
    "gain_over_best_baseline": GAIN,
}


@pytest.fixture
def metrics() -> dict:
    return copy.deepcopy({**METRICS, "baselines": BASELINES})


def without_intervals(block):
    """The same with None for every interval."""
    if not isinstance(block, dict):
        return block
    return {
        name: None
        if name.endswith(("ci95", "ci95_grouped", "ece_if_calibrated")) and name != "leading_ci95"
        else without_intervals(value)
        for name, value in block.items()
    }


def test_a_single_group_allows_no_interval_and_the_page_says_so(tmp_path, metrics) -> None:
    """One site alone in the test part: warnings are errors here, so no section fails either."""
    text = rendered(tmp_path, RUN, metrics).text
    assert "the model gains +10.00 percentage points of accuracy; a single group allows no interval" in text
    assert "(no interval: all images are of one group)" in text  # the checklist
    text = rendered(tmp_path, RUN, without_intervals(metrics)).text
    assert "an accuracy of 99.63 % over 3 classes" in text


def test_a_section_that_fails_is_left_out_with_a_note_and_one_warning(tmp_path, metrics) -> None:
    metrics["test"]["confusion_matrix"] = metrics["seconds"]["load"] = None
    metrics["baselines"]["best"] = "a name nobody knows"
    with pytest.warns(UserWarning, match=r"report\.html goes without the section") as warned:
        page = rendered(tmp_path, RUN, metrics)
    assert len(warned) == 1
    message = str(warned[0].message)
    assert "section Confusion matrix (" in message
    assert "section Baselines (" in message
    assert "the run is not affected" in message
    # The summary reads the baselines too.
    assert page.text.count("This section was left out, because an error (UndefinedError) stopped it.") >= 1
    assert page.text.count("This section was left out, because an error") == 3
    assert "head/hidden Dense" in page.text
    assert "undefined" in page.text  # the time to load


def test_a_figure_that_could_not_be_drawn_has_a_note(tmp_path) -> None:
    write_run(tmp_path, RUN, METRICS, tuple({*FIGURES} - {"errors"}))
    with pytest.warns(UserWarning, match=r"without the figure errors \(TypeError: why\); the run is not"):
        text = Page(render_page(tmp_path, failures={"errors": "TypeError: why"})).text
    assert "The figure errors.png was left out, because an error stopped its drawing." in text
    assert "The figure ranking.png is not in this run directory." in text  # gone, for another reason


def test_where_no_page_can_be_made_a_note_stands_in_its_place(tmp_path, monkeypatch) -> None:
    def fail(*_) -> str:
        raise TypeError("no page")

    monkeypatch.setattr(page_module, "render_page", fail)
    with pytest.warns(UserWarning, match=r"could not be made \(TypeError: no page\); the scores are in"):
        write_page_or_note(tmp_path, "done")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "The report could not be made. The run is not affected" in text
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="RefusedError"):
        write_page_or_note(tmp_path, "done")
    with pytest.raises(RefusedError):
        render_page(tmp_path)


def test_a_disk_that_is_full_is_no_failure_of_the_page(tmp_path, monkeypatch) -> None:
    def fail(*_) -> None:
        raise OSError(28, "No space left on device")

    write_run(tmp_path, RUN, METRICS)
    monkeypatch.setattr(page_module, "write_text", fail)
    with pytest.raises(OSError, match="No space"):
        write_page_or_note(tmp_path, "done")


def test_a_figure_says_what_its_numbers_stand_for(tmp_path: Path) -> None:
    write_run(tmp_path, RUN, METRICS)
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    legend = ("class 1: 肺炎", "class 2: <b>正常</b>")
    (tmp_path / "figures" / "samples.png").write_bytes(encode_figure(figure, legend))
    html = render_page(tmp_path)
    text = Page(html).text
    assert "The figure shows numbers for them: class 1: 肺炎 class 2: <b>正常</b>" in text
    assert text.count("shows numbers for them") == 1
    assert "<b>" not in html
