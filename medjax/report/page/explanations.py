"""The HTML page of explained images: each beside its map, self-contained as the report is."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from medjax.report.page.page import make_environment
from medjax.report.wording import NO_PROOF

IMAGES_SHOWN = 200
"""On the page; files of all are beside it."""
MEANINGS = {
    "grad-cam": "Grad-CAM: orange where the feature maps of one layer speak for the class. The maps are coarse, and stretched "
    "over the image.",
    "integrated-gradients": "Integrated gradients from a black image: orange pixels raise the logit of the class, blue ones "
    "lower it. Their sum is the difference of the two logits, up to the gap that stands below each image.",
    "gradient": "Gradient: the logit of the class is the more sensitive to a pixel, the more orange it is.",
}
"""What each method's maps show."""


class Shown(NamedTuple):
    """An image on the page."""

    id: str
    predicted: str
    explained: str  # the class whose logit the map is of
    probability: float  # of the explained class
    image: bytes  # PNG
    overlay: bytes  # PNG
    is_empty: bool  # a map of zeros
    change: float | None = None
    gap: float | None = None


def render_explanations(
    record: Mapping[str, Any],
    method: str,
    layer: str | None,
    notes: Sequence[str],
    shown: Sequence[Shown],
    n: int,
) -> str:
    """Render the page; `shown` are at most `IMAGES_SHOWN` of `n` images, `record` is the run's."""
    return (
        make_environment()
        .get_template("explanations.html.jinja")
        .render(
            run=record,
            meaning=MEANINGS[method],
            layer=layer,
            notes=notes,
            shown=shown,
            n=n,
            no_proof=NO_PROOF,
            uri=_embed,
        )
    )


def _embed(content: bytes) -> Markup:
    return Markup("data:image/png;base64,") + base64.b64encode(content).decode("ascii")
