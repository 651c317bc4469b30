"""Compare two runs, by their predictions.csv, on the images that both were scored on."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from medjax.data.splitting.group_file import read_groups
from medjax.data.splitting.group_pattern import pattern_groups
from medjax.errors import Problem, RefusedError, counted, listed, refuse
from medjax.evaluation.comparison import compare_predictions
from medjax.evaluation.differences import compare_label_scores, compare_scores
from medjax.jobs.from_config import training_of
from medjax.jobs.recorded_config import recorded_config
from medjax.records import SEPARATOR, UNKNOWN, Names, Predictions, kept_together
from medjax.runs import directory as run_files
from medjax.runs.answers import Answer, read_answers


@dataclasses.dataclass(frozen=True)
class _Scored:
    """A run and its predictions of test images."""

    directory: Path
    record: Mapping[str, Any]
    predictions: Mapping[str, Answer]  # by id


def compare_runs(
    first: str | Path, second: str | Path, *, positive: str | None = None, specificity: float = 0.9
) -> dict[str, Any]:
    """Changes from the first run to the second on the test (or out-of-fold) images that both predicted, by id.

    Of a repeated cross-validation the first repeat counts. Besides the keys of `compare_predictions`: scores (see
    `compare_scores`; AUC and the sensitivity at this `specificity`, above 0 and below 1, are of the class `positive`, or means
    over all classes), specificity, positive, only_first and only_second (test images of one run alone), same_data (whether
    both were given the same data), warnings. Raises RefusedError where the runs share no image or differ in their
    classes or in the label of an image.
    """
    if not 0 < specificity < 1:
        raise refuse("--specificity", f"{specificity} is out of range", "more than 0 and less than 1")
    records = [run_files.read_record(Path(directory)) for directory in (first, second)]
    if len({record.get("several_labels", False) for record in records}) > 1:
        reason = f"and {first} differ: one is of several labels an image, the other of one class"
        raise refuse(str(second), reason, "compare runs of one task")
    names = [record["class_names"] for record in records]
    if names[0] != names[1]:
        differing = listed(sorted({*names[0]} ^ {*names[1]}) or names[1])
        raise refuse(str(second), f"has other classes than {first}: {differing}", "compare runs of one task")
    if positive is not None and records[0].get("several_labels", False):
        raise refuse("--positive", "is of one class an image", "leave it out: these runs have several labels")
    if positive is not None and positive not in names[0]:
        raise refuse("--positive", f"{positive} is no class of these runs", f"one of {listed(names[0])}")
    runs = _open(Path(first), records[0]), _open(Path(second), records[1])
    before, after = (one.predictions for one in runs)
    shared = [id for id in before if id in after]
    if not shared:
        reason = f"of its {counted(len(after), 'test image')} none was a test image of {first}"
        raise refuse(str(second), reason, "train both with the same --seed, or cross-validate")
    _require_same_labels(*runs, shared)
    ids = np.array(shared)
    groups, found = _read_groups(runs, ids)
    if records[0].get("several_labels", False):
        found = ["of several labels: an image is right if all labels that are known of it are", *found]
    is_same = len({one.record["data"]["fingerprint"] for one in runs}) == 1
    if not is_same:
        found = ["the runs had different data; images are matched by id, their pixels may differ", *found]
    compared = compare_predictions(
        ids,
        np.array([before[id].label for id in shared]),
        np.array([before[id].predicted for id in shared]),
        np.array([after[id].predicted for id in shared]),
        groups,
    )
    scores: Mapping[str, Any]
    if records[0].get("several_labels", False):
        scores = compare_label_scores(
            _label_predictions(names[0], before, shared), _label_predictions(names[0], after, shared), groups
        )
    else:
        scores = compare_scores(
            _predictions(names[0], before, shared),
            _predictions(names[0], after, shared),
            range(len(names[0])) if positive is None else [names[0].index(positive)],
            groups,
            specificity=specificity,
        )
    compared |= {"scores": scores, "specificity": specificity, "positive": positive}
    others = {"only_first": len(before) - len(shared), "only_second": len(after) - len(shared)}
    return {**compared, **others, "same_data": is_same, "warnings": found}


def _open(directory: Path, record: Mapping[str, Any]) -> _Scored:
    return _Scored(directory, record, read_answers(directory, record))


def _predictions(
    class_names: Sequence[str], answers: Mapping[str, Answer], shared: Sequence[str]
) -> Predictions:
    """The answers of a run to the images that both predicted, in their order; without losses."""
    numbers = {name: number for number, name in enumerate(class_names)}
    return Predictions(
        np.arange(len(shared)),
        np.array([numbers[answers[id].label] for id in shared], np.int32),
        np.array([answers[id].probabilities for id in shared], np.float32),
        None,
    )


def _label_predictions(
    class_names: Sequence[str], answers: Mapping[str, Answer], shared: Sequence[str]
) -> Predictions:
    """The same of several labels; thresholds of 0 and 2 stand for what was predicted."""

    def contains(texts: Sequence[str]) -> np.ndarray:
        named = [{*text.split(SEPARATOR)} for text in texts]
        return np.array([[name in each for name in class_names] for each in named])

    chosen = [answers[id] for id in shared]
    labels = contains([each.label for each in chosen]).astype(np.int32)
    labels[contains([each.unknown for each in chosen])] = UNKNOWN
    predicted = contains([each.predicted for each in chosen])
    probabilities = np.array([each.probabilities for each in chosen], np.float32)
    thresholds = np.where(predicted, 0, 2).astype(np.float32)  # no probability is 2
    return Predictions(np.arange(len(shared)), labels, probabilities, None, thresholds=thresholds)


def _known_label(answer: Answer) -> str:
    """The label of an image; of several labels also those that are not known."""
    return answer.label + (f" (not known: {answer.unknown})" if answer.unknown else "")


def _require_same_labels(first: _Scored, second: _Scored, shared: list[str]) -> None:
    problems = [
        Problem(
            id,
            f"is {mine} in {first.directory} and {its} in {second.directory}",
            "compare runs of the same labels",
        )
        for id in shared
        if (mine := _known_label(first.predictions[id])) != (its := _known_label(second.predictions[id]))
    ]
    if problems:
        raise RefusedError(problems)


def _read_groups(runs: tuple[_Scored, _Scored], ids: Names) -> tuple[Int[np.ndarray, "m"] | None, list[str]]:
    """The group of each image, numbered from 0, if a run had groups; and a warning where the groups file cannot be read."""
    grouped = [one for one in runs if one.record["data"]["groups"] is not None]
    for one in grouped:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the file may name images that were not scored
            try:
                groups = _groups_of(one, ids)
            except RefusedError:
                continue
        if groups is not None:
            return np.unique(groups, return_inverse=True)[1], []
    if not grouped:
        return None, []
    given = [source for one in grouped for source in one.record["data"]["groups"]["sources"]]
    sources = [*dict.fromkeys(given)]
    reason = (
        "the groups of the images are not at hand"
        if "user" in sources
        else f"no patient groups were given; {kept_together(sources)} were grouped"
    )
    return None, [f"{reason}; the interval takes every image as independent"]


def _groups_of(run: _Scored, ids: Names) -> Names | None:
    """The group of each image by the table, or the pattern, that a run was given; None if it was given neither."""
    data = training_of(recorded_config(run.directory, run.record)).data
    table = run.record["data"].get("table") or {}
    if data.groups is None and data.labels is not None and table.get("group_column") is not None:
        columns: dict[str, Any] = {name: str(table.get(name)) for name in ("image_column", "group_column")}
        return read_groups(Path(data.labels), ids, dataclasses.replace(data, labels=None, **columns))
    if data.groups is not None:
        return read_groups(Path(data.groups), ids, data)
    return None if data.group_pattern is None else pattern_groups(ids, data.group_pattern)
