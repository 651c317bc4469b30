"""Images that cannot be used, damaged ones above all: refused, or left out within the limits of --skip-bad."""

import math
import warnings
from collections import Counter
from collections.abc import Collection, Sequence

from medjax.config import ReadingConfig
from medjax.data.reading.layout import ImageEntry
from medjax.errors import Problem


def refused_bad(bad: Sequence[Problem], total: int, config: ReadingConfig) -> list[Problem]:
    """The problems that stand in the way of loading: none if `bad` of `total` images may be left out."""
    share = len(bad) / max(total, 1)
    enough = f"--max-bad {math.ceil(1000 * share) / 1000:g}"
    if config.skip_bad:
        if share <= config.max_bad:
            return []
        reason = f"{len(bad):,} of {total:,} images cannot be used, a larger fraction than {config.max_bad:g}"
        return [Problem("--max-bad", reason, f"mend them, or give {enough}"), *bad]
    if (
        not 1 < len(bad) <= total / 2
    ):  # a single one names its remedy; with most of them something else is wrong
        return list(bad)
    limit = f" {enough}" if share > config.max_bad else ""
    remedy = f"mend them, or leave them out: --skip-bad{limit}"
    return [Problem(f"{len(bad):,} of {total:,} images", "cannot be used", remedy), *bad]


def emptied_classes(images: Sequence[ImageEntry], bad: Collection[int]) -> list[Problem]:
    """A problem for each class, of each part, that loses all its images if those at the positions `bad` are left out."""
    before = Counter((image.part, image.class_name) for image in images)
    lost = Counter((images[position].part, images[position].class_name) for position in bad)
    return [
        Problem(
            f"{part}/{name}" if part else name,
            f"has no image left: none of its {count:,} can be used",
            "mend some of them",
        )
        for (part, name), count in sorted(before.items())
        if lost[part, name] == count
    ]


def warn_of_bad(name: str, bad: Sequence[Problem], total: int) -> None:
    """Warn of images that were left out, of `total` images with them."""
    if bad:
        more = f"; and {len(bad) - 1:,} more" if len(bad) > 1 else ""
        warnings.warn(
            f"{name}: {len(bad):,} of {total:,} images cannot be used and are left out: {bad[0]}{more}",
            stacklevel=3,
        )
