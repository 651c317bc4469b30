"""What a sweep chose by, kept before anything of a test part is scored: a sweep that continues chooses by the same again.

The chosen runs, once they are scored, cannot tell it: their val part is then scored after calibration.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax.errors import refuse
from medjax.runs import directory as run_files
from medjax.runs.schema import fields, items, number, optional, require, text, whole

_FILE = "choice.json"
_SCORE = optional(number())
_SCORES = {"loss": _SCORE, "balanced_accuracy": _SCORE, "auc": _SCORE}
_ROW = {"seed": whole(0), "directory": text(at_most=200), "n": whole(0), **_SCORES, "epochs": whole(0)}
_CHOICE = fields(
    {
        "choose_by": text(choices=("loss", "balanced_accuracy", "auc")),
        "configurations": items(
            fields(
                {
                    "val": items(fields(_ROW), at_most=1000),
                    "mean": optional(fields(_SCORES)),
                    "diverged": items(whole(0), at_most=1000),
                }
            ),
            at_most=1000,
        ),
    }
)


def keep_choice(folder: Path, choose_by: str, configurations: Sequence[Mapping[str, Any]]) -> None:
    """Write the val scores of all configurations, and which of them decides."""
    value = {"choose_by": choose_by, "configurations": list(configurations)}
    run_files.write_json(folder / _FILE, value, root=folder)


def kept_choice(folder: Path, choose_by: str, count: int) -> list[dict[str, Any]] | None:
    """The val scores of `count` configurations, None if none was chosen yet.

    RefusedError where the choice was by another score, and for a file that medjax did not write.
    """
    path = folder / _FILE
    if not path.exists():
        return None
    value = run_files.read_json(path)
    require(_CHOICE, value, path)
    if value["choose_by"] != choose_by:
        reason = f"a configuration was chosen by {value['choose_by']} already, and scored on test"
        raise refuse(folder.parent, reason, f"give --choose-by {value['choose_by']}, or choose another --run")
    if len(value["configurations"]) != count:
        raise refuse(path, "is of other configurations", "restore it from a copy")
    return value["configurations"]
