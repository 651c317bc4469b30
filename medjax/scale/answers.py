"""What a worker leaves beside a description when its fit cannot be finished: why. A stranger could have written it."""

from pathlib import Path
from typing import Literal, NamedTuple

from medjax.errors import Problem
from medjax.files import open_folder
from medjax.runs import directory as run_files
from medjax.runs.schema import fields, items, require, text

_LINE = text(at_most=10_000)
_ANSWER = fields(
    {
        "status": text(choices=("refused", "diverged")),
        "message": _LINE,
        "problems": items(fields({"name": _LINE, "reason": _LINE, "remedy": _LINE}), at_most=10_000),
    }
)


class Answer(NamedTuple):
    """Why a fit ended without a score."""

    status: Literal["refused", "diverged"]
    problems: tuple[Problem, ...] = ()  # why it was refused
    message: str = ""  # how it diverged


def answer_path(description: Path) -> Path:
    """Where the answer to a description would be."""
    return description.with_suffix(".answer.json")


def write_answer(description: Path, answer: Answer) -> None:
    """Write an answer beside a description."""
    problems = [each._asdict() for each in answer.problems]
    value = {"status": answer.status, "message": answer.message, "problems": problems}
    run_files.write_json(answer_path(description), value, root=description.parent)


def read_answer(description: Path) -> Answer | None:
    """The answer to a description, None if there is none; RefusedError for a file that medjax did not write."""
    path = answer_path(description)
    if not path.exists():
        return None
    value = run_files.read_json(path)
    require(_ANSWER, value, path)
    problems = tuple(Problem(each["name"], each["reason"], each["remedy"]) for each in value["problems"])
    return Answer(value["status"], problems, value["message"])


def forget_answer(description: Path) -> None:
    """Remove the answer to a description, before it is worked on again."""
    with open_folder(description.parent) as folder:
        folder.remove(answer_path(description).name)
