"""The page of explained images: what it says of each, names of strangers, and nothing from outside."""

import numpy as np
import pytest

from medjax.report.figures.overlay import encode_png
from medjax.report.page.explanations import MEANINGS, Shown, render_explanations
from medjax.report.wording import NO_PROOF
from tests.pages import Page

RECORD = {
    "job": "train",
    "model": {"name": "CNN"},
    "data": {"name": "scans", "is_synthetic": False},
}
PNG = encode_png(np.zeros((2, 2, 3), np.uint8))


def shown(**changes):
    facts = {"id": "a.png", "predicted": "cat", "explained": "dog", "probability": 0.25}
    return Shown(**{**facts, "image": PNG, "overlay": PNG, "is_empty": False, **changes})


def render(*each, record=RECORD, method="grad-cam", layer=None, notes=(), n=1):
    return render_explanations(record, method, layer, list(notes), list(each), n)


def test_it_says_what_a_map_is_and_that_it_is_no_proof():
    text = Page(render(shown(), layer="features")).text
    assert NO_PROOF in text
    assert "De-identify before sharing." in text
    assert "Layer: features." in text
    assert "Predicted: cat. Map for dog (p = 0.2500)." in text
    assert "zero everywhere" not in text
    assert "mean over the networks of all folds" not in text


def test_what_holds_of_some_images_alone_stands_with_these():
    text = Page(render(shown(is_empty=True, predicted=""), shown(change=-2.5, gap=0.125), n=9)).text
    assert "Predicted: no label." in text
    assert text.count("The map is zero everywhere") == 1
    assert text.count("Logit -2.5 against black; gap 0.1.") == 1
    assert "The first 2 are shown here" in text


@pytest.mark.parametrize("method", MEANINGS)
def test_notes_and_methods_are_told(method):
    text = Page(render(shown(), method=method, notes=["network X has no maps"])).text
    assert "Network X has no maps." in text
    assert MEANINGS[method].partition(":")[0] in text


def test_of_folds_and_of_drawings_it_says_so():
    record = {**RECORD, "job": "crossval", "data": {"name": "phantom", "is_synthetic": True}}
    text = Page(render(shown(), record=record)).text
    assert "mean over the networks of all folds" in text
    assert "Synthetic phantom images" in text


def test_names_of_strangers_are_text():
    page = render(shown(id='<script>"x"</script>\u202e', predicted="<b>", explained="<i>"))
    assert "<script>" not in page
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "://" not in page
