"""Configurations of tests: nothing in them is left to the images."""

import dataclasses

from medjax.config import PRESETS, DataConfig


def plain(**changes):
    """The report's recipe, but with identical images kept together."""
    return dataclasses.replace(PRESETS["report"], **{"data": DataConfig(), **changes})
