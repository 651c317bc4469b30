"""The page of several seeds: complete, self-contained, and harmless whatever a name says."""

import re

import pytest

from medjax.report.page.seeds import render_seeds
from tests.pages import HOSTILE, Page
from tests.report.test_seeds import METRICS


def test_the_page_shows_the_spread_and_leads_to_each_run():
    html = render_seeds(METRICS)
    page = Page(html)
    assert "Over 2 seeds: accuracy 99.63 ± 0.26 % (99.44 to 99.81 %), 2.0 ± 1.4 errors (1 to 3)" in page.text
    assert page.values("a", "href") == ["seed_0000/report.html", "seed_0003/report.html"]
    assert "0.9981 (0.9800 to 0.9990)" in page.text
    assert not re.search(r"https?:|//[a-z]|<script|@import|url\(", html, re.IGNORECASE)


def test_phantom_images_are_said_to_be_none_of_patients():
    assert "Synthetic phantom images" not in Page(render_seeds(METRICS)).text
    assert "Synthetic phantom images" in Page(render_seeds({**METRICS, "is_synthetic": True})).text


def test_it_says_what_the_spread_is_of():
    assert "scored on different test images" in Page(render_seeds(METRICS)).text
    assert "on the same test images" in Page(render_seeds({**METRICS, "same_images": True})).text
    assert (
        "A seed decides the folds"
        in Page(render_seeds({**METRICS, "job": "crossval", "part": "pooled"})).text
    )


def test_what_went_wrong_comes_first_and_a_mean_may_be_withheld():
    found = {"name": "not learnt", "sentence": "It has not learnt.", "remedy": "train anew", "seeds": [0, 3]}
    text = Page(render_seeds({**METRICS, "diagnosis": [found], "mean": None, "diverged": [4, 5]})).text
    assert 0 < text.index("In 2 of 2 seeds, as in seed 0: It has not learnt.") < text.index("Summary")
    assert "The training of seed 4 and 5 diverged; the mean is withheld." in text
    assert "Over 2 seeds" not in text


@pytest.mark.parametrize("name", [*HOSTILE, "a\x1bb"])
def test_a_name_is_only_text(name):
    html = render_seeds({**METRICS, "name": name})
    assert "<script>" not in html
    assert "<img" not in html
    assert "\x1b" not in html
