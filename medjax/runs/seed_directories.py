"""Directories of runs that differ only in their seed: one folder, with a run directory for each seed."""

import re
from pathlib import Path

_NAME = re.compile(r"seed_([0-9]{4,10})")


def seed_directory(parent: Path, seed: int) -> Path:
    """The run directory of a seed."""
    return parent / f"seed_{seed:04d}"


def list_seeds(parent: Path) -> list[int]:
    """The seeds that a folder has a run directory of, ascending; [] where it is none of several seeds."""
    try:
        names = [path.name for path in parent.iterdir()]
    except OSError:
        return []
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))
