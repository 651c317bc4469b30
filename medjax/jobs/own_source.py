"""Where run.json says the images of a run lie: a stranger's word, so little is read because of it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medjax.data.reading.sources import source_suffix
from medjax.errors import RefusedError, command_line, refuse

# Of files and folders beside the images of a data set, such as masks and notes, there are a few for each.
_ENTRIES_AN_IMAGE, _MORE_ENTRIES, _MOST_ENTRIES = 20, 10_000, 500_000
_BYTES_AN_IMAGE, _MORE_BYTES = 16 * 2**20, 64 * 2**20


def own_source(directory: Path, record: Mapping[str, Any]) -> str:
    """The source of the images of a run; RefusedError where it is gone, or cannot be that of so few images."""
    path = record["data"]["path"]
    if path is None:
        raise refuse(str(directory), "its data were given in Python", "give them again: evaluate(data)")
    if record["data"]["is_synthetic"]:
        return "phantom"
    remedy = f"say where it is: {command_line(['medjax', 'evaluate', str(directory)])} DATA"
    if not Path(path).exists():
        raise refuse(path, "is not there any more", remedy)
    num_images = record["data"]["n"]
    if Path(path).is_dir():
        limit = min(_ENTRIES_AN_IMAGE * num_images + _MORE_ENTRIES, _MOST_ENTRIES)
        if _holds_more(path, limit):
            raise refuse(
                path, f"holds more than {limit:,} files for the {num_images:,} images of this run", remedy
            )
    elif not (Path(path).is_file() and source_suffix(Path(path))):
        raise refuse(path, "is not a kind of file that contains a data set", remedy)
    elif Path(path).stat().st_size > (limit := _BYTES_AN_IMAGE * num_images + _MORE_BYTES):
        raise refuse(path, f"has more than {limit:,} bytes for the {num_images:,} images of this run", remedy)
    return path


@contextlib.contextmanager
def unquoted(path: str | Path | None, flag: str) -> Iterator[None]:
    """Let no refusal of the table that run.json names under a flag quote it: that may be any file of this machine."""
    try:
        yield
    except RefusedError as error:
        # A refusal of a table names it, if only as the place of a row.
        if path is None or not any(Path(path).name in "".join(problem) for problem in error.problems):
            raise
        reason = f"is not the table that {flag} named for this run, or not any more"
        raise refuse(path, reason, f"restore it from a copy, or name it with {flag}") from None


def _holds_more(folder: str, limit: int) -> bool:
    """Whether there are more than so many files and folders below a folder; links are not followed."""
    count, waiting = 0, [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                if count > limit:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return False
