"""What a person reads in a terminal: the JSON values of a job as lines of text."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medjax.errors import command_line, counted, listed, printable
from medjax.report.calibration import calibration_line
from medjax.report.headline import interval_words, is_of_labels, is_unequal, patients_note, score_warnings
from medjax.report.operating_point import point_line
from medjax.report.prediction_sets import own_images_sentence, sets_line, uncovered_sentence, void_sentence
from medjax.report.wording import UNDEFINED, overlap, percent, percentages, points, share

CONFLICTS_SHOWN = 10
_PARTS = ("train", "val", "test")
_HEAD = (
    ["", "images", "", "", "redundant", "", "largest", "test images with a copy in train", ""],
    ["class", *_PARTS, "identical", "near", "group", "identical", "near"],
)
_SCORED = {
    "pooled": "out of fold",
    "train": "train",
    "val": "val",
    "test": "test",
    "external": "external",
    "new": "of these, not the run's own",
    "identical": "identical to training images",
}
"""Scores that a job may return, in the order in which they are shown, and what they are called."""

_CHOSEN_HERE = " (thresholds chosen on these images: too good)"
"""Said of decisions on the validation part."""

_CHANGES = {
    "right_to_wrong": "right to wrong",
    "wrong_to_right": "wrong to right",
    "wrong_to_wrong": "wrong under both, but another class",
}
"""Changes from one run to another, and what they are called."""


def epoch_line(rows: Sequence[Mapping[str, Any]], num_epochs: int) -> str:
    """One epoch of a run, from its rows of history.csv; of several folds, the means."""
    mean = {
        name: statistics.fmean(row[name] for row in rows)
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    }
    folds = f"mean of {len(rows)} folds: " if len(rows) > 1 else ""
    val = f", val loss {mean['val_loss']:.4f} accuracy {mean['val_accuracy']:.4f}"
    return (
        f"epoch {rows[0]['epoch'] + 1}/{num_epochs}: {folds}train loss {mean['train_loss']:.4f} "
        f"accuracy {mean['train_accuracy']:.4f}{'' if math.isnan(mean['val_loss']) else val}, "
        f"{sum(row['seconds'] for row in rows):.1f} s"
    )


def training_lines(metrics: Mapping[str, Any], record: Mapping[str, Any], directory: Path) -> list[str]:
    """What a finished training or cross-validation scored, from metrics.json and run.json, and what to do next."""
    shown = [name for name in ("pooled", "test") if metrics.get(name)]
    lines = [line for name in shown for line in _score_lines(name, metrics[name])]
    folds = metrics.get("folds", [])
    if len(folds) > 1:
        mean = metrics["mean"]
        accuracy = percent(mean["accuracy"], folds[0]["n"], mean["accuracy_sd"])
        lines.append(
            f"over {len(folds)} folds: accuracy {accuracy}, loss {_loss(mean['loss'])} ± {_loss(mean['loss_sd'])} "
            "(mean ± sd between folds that share training images, not a confidence interval)"
        )
    lines += [
        f"diagnosis: {found['sentence']} To change it: {found['remedy']}."
        for found in metrics.get("diagnosis", [])
    ]
    lines += _cautions([metrics[name] for name in shown], record) + _sets_cautions(shown, record)
    again = command_line(["medjax", "evaluate", str(directory)])
    lines.append(f"next: open {directory / 'report.html'}, or score it again: {again}")
    return [printable(line) for line in lines]


def evaluation_lines(scores: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """What `Run.evaluate` returned; `record` is run.json."""
    shown = [name for name in _SCORED if scores.get(name)]
    lines = [line for name in shown for line in _score_lines(name, scores[name])]
    is_external = "directory" in scores
    # What is new is a part of what is external, and may be a single image.
    cautioned = [scores[name] for name in shown if name != "new"]
    lines += _cautions(cautioned, None if is_external else record) + _sets_cautions(shown, record)
    if "overlap" in scores:  # external data
        lines.append(overlap(scores["overlap"]))
    if is_external:
        lines.append(f"next: every prediction is in {scores['directory']}")
    return [printable(line) for line in lines]


def _cautions(blocks: Sequence[Mapping[str, Any]], record: Mapping[str, Any] | None) -> list[str]:
    """What the scores do not say by themselves; `record` is that of the run whose own data were scored."""
    lines = [f"warning: {words}" for block in blocks for words in score_warnings(block)]
    found = [uncovered_sentence(block["prediction_sets"]) for block in blocks if "prediction_sets" in block]
    lines += [f"warning: {words}" for words in found if words is not None]
    note = patients_note(record) if record else None
    return list(dict.fromkeys(lines)) + ([f"note: {note}"] if note else [])


def _sets_cautions(shown: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    """That prediction sets of the run promise nothing, or look too good on one of the parts, where it is so."""
    config = record.get("config", {})
    training = config.get("training", config)
    found = [void_sentence(training), own_images_sentence(training) if "val" in shown else None]
    return [f"warning: {words}" for words in found if words is not None]


def _score_lines(name: str, block: Mapping[str, Any]) -> list[str]:
    """The scores of a part; below them decisions by a threshold, what calibration did and prediction sets, if there are any."""
    point = block.get("operating_point")
    lines = [_score_line(name, block)]
    if point is not None:
        lines.append(f"{_SCORED[name]}, {point_line(point)}{_CHOSEN_HERE if name == 'val' else ''}")
    if "before_calibration" in block:
        lines.append(f"{_SCORED[name]}, {calibration_line(block)}")
    if "prediction_sets" in block:
        lines.append(f"{_SCORED[name]}, {sets_line(block['prediction_sets'])}")
    return lines


def _score_line(name: str, block: Mapping[str, Any]) -> str:
    """The accuracy with its interval; before it the balanced accuracy where the classes are unequal."""
    if is_of_labels(block):
        return _labels_line(name, block)
    words, lead = interval_words(block), ""
    if is_unequal(block):
        n, largest, interval = block["n"], block["largest_class"], block["balanced_accuracy_ci95"]
        bounds = (
            ""
            if interval is None
            else f" (95 % interval {percent(interval[0], n)[:-2]} to {percent(interval[1], n)})"
        )
        lead = f"balanced accuracy {percent(block['balanced_accuracy'], n)}{bounds}, "
        words += f"; {percent(largest['share'], n)} are of the largest class, {largest['name']}"
    return (
        f"{_SCORED[name]}: {lead}accuracy {percentages(block).point} % ({words}), "
        f"{counted(block['errors'], 'error')} of {block['n']:,}, loss {_loss(block['loss'])}{_order(block)}"
    )


def _labels_line(name: str, block: Mapping[str, Any]) -> str:
    """The scores of several labels: first the mean AUC, which depends on no threshold."""
    n, interval = block["n"], block["auc_ci95"]
    bounds = f" (95 % interval {share(interval[0], n)} to {share(interval[1], n)})" if interval else ""
    return (
        f"{_SCORED[name]}: AUC {share(block['auc'], n)}{bounds}, the mean over "
        f"{counted(len(block['per_class']), 'label')}; all labels of an image right for {percentages(block).point} % "
        f"({interval_words(block)}) of {n:,}, loss {_loss(block['loss'])}{_CHOSEN_HERE if name == 'val' else ''}"
    )


def _order(block: Mapping[str, Any]) -> str:
    """The scores of classes that are in order, as the end of a line; nothing of others."""
    ordinal = block.get("ordinal")
    if ordinal is None:
        return ""
    kappa, interval = ordinal["quadratic_kappa"], ordinal["quadratic_kappa_ci95"]
    bounds = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    return (
        f", quadratic-weighted kappa {_loss(kappa)}{bounds}, mean absolute error "
        f"{ordinal['mean_absolute_error']:.4f}"
    )


def _loss(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4f}"


def comparison_lines(compared: Mapping[str, Any]) -> list[str]:
    """What `medjax.compare_runs` found."""
    lines = [
        f"{counted(compared['n'], 'image')} in both ({compared['only_first']:,} only in the first, "
        f"{compared['only_second']:,} only in the second)",
        *(
            f"{_title(name, compared)} {_difference(name, row, compared)}"
            for name, row in compared["scores"].items()
            if row is not None
        ),
    ]
    for name in _CHANGES:
        change = compared[name]
        ids = f": {_some(change['ids'], change['n'])}" if change["n"] else ""
        lines.append(f"{_CHANGES[name]}: {change['n']:,}{ids}")
    return [printable(line) for line in lines]


def _title(name: str, compared: Mapping[str, Any]) -> str:
    """What a score is called, and of which class it is."""
    if name in ("accuracy", "balanced_accuracy"):
        return name.replace("_", " ")
    # Of several labels an image there is no balanced accuracy.
    mean = f"mean over the {'classes' if 'balanced_accuracy' in compared['scores'] else 'labels'}"
    whose = mean if compared["positive"] is None else compared["positive"]
    title = "AUC" if name == "auc" else f"sensitivity at a specificity of {100 * compared['specificity']:g} %"
    return f"{title} ({whose})"


def _difference(name: str, row: Mapping[str, Any], compared: Mapping[str, Any]) -> str:
    """Both scores, and the difference with its interval and p-value."""
    is_area, low_and_high = name == "auc", row["ci95"] or ()
    first, second = (
        f"{row[each]:.4f}" if is_area else percent(row[each], compared["n"]) for each in ("first", "second")
    )
    difference, *bounds = (
        f"{each:+.4f}".replace("-", "−") if is_area else points(each)
        for each in (row["difference"], *low_and_high)
    )
    unit = "" if is_area else " percentage points"
    why = "too few images differ" if name != "balanced_accuracy" else "the images of a class are of one group"
    if not compared["ci95"]:
        why = "all images are of one group"
    units = f", over {compared['unit']}s" if name == "accuracy" else ""  # of all rows, said once
    interval = f"95 % interval {' to '.join(bounds)}{units}" if bounds else f"no interval: {why}"
    test = "DeLong's" if is_area else "McNemar's exact"
    chance = "" if row["p"] is None else f", {test} p = {row['p']:.3g}"
    return f"{first}, then {second}: a difference of {difference}{unit} ({interval}){chance}"


def audit_lines(found: Mapping[str, Any]) -> list[str]:
    """What `medjax.audit` found: a table with a row for each class, then one line for each finding."""
    names = list(found["near_duplicates"]["by_class"])
    lines = _table([*(_row(found, name) for name in names), _row(found, None)])
    lines += _duplicate_lines(found)
    leakage = found["leakage"]
    if "refused" in leakage:
        return [printable(line) for line in [*lines, *(f"no split: {why}" for why in leakage["refused"])]]
    lines.append(f"split: {found['data']['parts']}. {leakage['statement']}")
    across = leakage["groups_across_parts"]
    if across["n"]:
        named = [f"{name} ({', '.join(parts)})" for name, parts in across["named"].items()]
        lines.append(
            f"warning: {counted(across['n'], 'group')} in more than one part: {_some(named, across['n'])}"
        )
    return [printable(line) for line in lines]


def _duplicate_lines(found: Mapping[str, Any]) -> list[str]:
    exact, near = found["exact_duplicates"], found["near_duplicates"]
    sizes = ", ".join(f"{count:,} of {size}" for size, count in near["sizes"].items() if count)
    lines = [
        f"identical (every pixel, at full size): {counted(exact['redundant'], 'redundant image')} in "
        f"{counted(exact['groups'], 'group')}; {counted(exact['conflicting'], 'image')} with conflicting labels",
        f"identical or near-identical (linked by pairs of one class at most {near['threshold']:g} gray levels apart, "
        f"root mean square): {counted(near['redundant'], 'redundant image')} in {counted(near['groups'], 'group')}"
        + (f", by number of images: {sizes}" if sizes else ""),
    ]
    conflicts = found["conflicts"]
    lines += [f"conflicting labels: {' = '.join(ids)}" for ids in conflicts[:CONFLICTS_SHOWN]]
    if len(conflicts) > CONFLICTS_SHOWN:
        lines.append(
            f"… and {counted(len(conflicts) - CONFLICTS_SHOWN, 'more group')} with conflicting labels"
        )
    for name in near["chained"]:
        block = near["by_class"][name]
        lines.append(
            f"warning: the largest group of {name} is a chain of near-duplicates: {block['largest']:,} of "
            f"{block['n']:,} images, up to {block['span']:g} gray levels apart; inspect it (--out), or lower "
            "--near-threshold"
        )
    return lines


def _row(found: Mapping[str, Any], name: str | None) -> list[str]:
    """The cells of one class; of all classes if `name` is None."""
    near, test, counts = found["near_duplicates"], found["leakage"].get("test"), found["data"]["counts"]
    if name is None:
        images = found["data"].get("images")  # of several labels an image
        sizes = [images.get(part, 0) if images else sum(counts.get(part, {}).values()) for part in _PARTS]
        exact, group = found["exact_duplicates"]["redundant"], near
    else:
        sizes = [counts.get(part, {}).get(name, 0) for part in _PARTS]
        exact, group = found["exact_by_class"][name], near["by_class"][name]
        test = test and test["by_class"][name]
    copies = [_share(test[kind], test["n"]) if test else "-" for kind in ("exact", "near")]
    return [
        name or "all",
        *(f"{n:,}" for n in (*sizes, exact, group["redundant"], group["largest"])),
        *copies,
    ]


def _share(count: int, n: int) -> str:
    return f"{count:,} ({count / max(n, 1):.1%})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table with a head of two lines: a title in the upper one spans the columns up to the next title."""
    upper, lower = _HEAD
    widths = [max(len(cell) for cell in column) for column in zip(lower, *rows, strict=True)]
    starts = [sum(widths[:column]) + 2 * column for column in range(len(widths))]
    head = ""
    for start, width, title, below in zip(starts, widths, upper, lower, strict=True):
        if title:
            head = head.ljust(start + width - len(below)) + title + "  "
    lines = [head.rstrip()]
    for first, *others in (lower, *rows):
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
    return lines


def _some(named: Sequence[str], count: int) -> str:
    """Names of a few of `count` things, and how many more there are."""
    shown = listed(named, len(named))
    return shown if len(named) == count else f"{shown} and {count - len(named)} more"
