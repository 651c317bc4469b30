"""The page of a sweep: a row for each configuration, and links to the runs of the chosen one alone."""

import re

from medjax.report.page.sweep import render_sweep
from tests.report.test_sweep import metrics


def test_it_has_all_configurations_and_names_from_outside_are_escaped():
    values = metrics() | {"name": "<script>alert(1)</script>"}
    page = render_sweep(values)
    assert "<script>" not in page
    assert re.findall(r'<th scope="row">(\d.*?)</th>', page) == ["0", "1, chosen"]
    assert re.findall(r'href="(config[^"]*)"', page) == ["config_001/seed_0000/report.html"]
    assert "<td>diverged</td>" in page
    assert "No run computed anything of its test part before it" in page
    # More than one seed, each of which may draw its parts.
    of_another = "the validation part of one seed may hold test images of another"
    assert of_another not in page
    values["test"] = {**values["test"], "seeds": values["test"]["seeds"] * 2}
    assert of_another in render_sweep(values)
