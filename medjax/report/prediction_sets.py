"""Prediction sets as words: a line in the terminal, sentences and tables on the page."""

from collections.abc import Mapping
from typing import Any

from medjax.errors import counted
from medjax.report.wording import UNDEFINED, enumerated, percent, validation_decisions

_KINDS = {
    "lac": "A set holds every class whose probability reaches a threshold; it may hold none",
    "aps": "A set holds the most probable classes, as many as it takes; it always holds one",
    "class": "A set holds every class whose probability reaches a threshold of that class; it may hold none",
}


def sets_line(block: Mapping[str, Any]) -> str:
    """How good the sets are on the images of a part: "sets at 95 %: hold the true class for 95.20 % (…), …"."""
    n = block["n"]
    bounds = _interval(block["coverage_ci95"], n)
    return (
        f"sets at {100 * block['wanted']:g} %: hold the true class for {percent(block['coverage'], n)}"
        f"{f' ({bounds})' if bounds else ''} of {counted(n, 'image')}, {block['mean_size']:.2f} classes on average, "
        f"{percent(block['single'], n)} hold one class, {percent(block['empty'], n)} none"
    )


def void_sentence(training: Mapping[str, Any]) -> str | None:
    """That sets promise nothing, where the validation part set their thresholds and chose something; else None."""
    if not _is_on_validation(training):
        return None
    decided = validation_decisions(training)
    if not decided:
        return None
    return (
        f"the guarantee of these sets is void: the validation part, which set their thresholds, decided {enumerated(decided)} "
        "(give --conformal-share 0.1 for a part of their own)"
    )


def own_images_sentence(training: Mapping[str, Any]) -> str | None:
    """That sets look too good on the validation part, where it set their thresholds; else None."""
    if not _is_on_validation(training):
        return None
    return "the validation part set the thresholds of these sets, so on it they hold the true class as wanted whatever they are worth"


def _is_on_validation(training: Mapping[str, Any]) -> bool:
    # run.json may lack either setting.
    return training.get("coverage") is not None and not training.get("conformal_share")


def uncovered_sentence(block: Mapping[str, Any]) -> str | None:
    """Which classes are covered less than wanted, by intervals below it; None where there is none."""
    shares = [
        f"{percent(each['coverage'], each['n'])} of {name}"
        for name, each in block["per_class"].items()
        if each["coverage_ci95"] is not None and each["coverage_ci95"][1] < block["wanted"]
    ]
    if not shares:
        return None
    return f"sets hold the true class for only {enumerated(shares)} (--sets class has a threshold for each class)"


def sets_sentences(
    metrics: Mapping[str, Any], training: Mapping[str, Any], groups: Mapping[str, Any] | None
) -> list[str]:
    """How the sets were made, and what they promise; `groups` is the block of run.json."""
    sets, is_several = metrics["prediction_sets"], len(metrics.get("folds", [])) > 1
    wanted, unit = 100 * sets["coverage"], "image" if groups is None else "group"
    counts = [count for fold in sets["folds"] for count in fold["units"]]
    low, high = f"{min(counts):,}", f"{max(counts):,}"
    number = low if low == high else f"{low} to {high}"
    part = "a part that was kept out of training" if sets["part"] == "conformal" else "the validation part"
    of_class = " of a class" if sets["sets"] == "class" else ""
    fold = " of each fold" if is_several else ""
    sentences = [f"{_KINDS[sets['sets']]}. Thresholds come from {part}: {number} {unit}s{of_class}{fold}."]
    if (void := void_sentence(training)) is not None:
        return [*sentences, f"{void[0].upper()}{void[1:]}."]
    whose = f"an image{of_class or ' of any class'}"
    drawn = whose if groups is None else f"{whose}, drawn at random from a new group, each group counted once"
    sentences.append(
        f"They hold the true class of {drawn}, with a probability of at least {wanted:g} %, if new images come from the same "
        "source: on average over all draws, not for each class, patient or clinic."
        if not of_class
        else f"They hold the true class of {drawn}, with a probability of at least {wanted:g} % for each class, if new images "
        "come from the same source."
    )
    if is_several:
        empty = "; folds that disagree may leave none" if sets["sets"] == "aps" else ""
        sentences.append(
            "That holds for each fold's network by itself, and so for the out-of-fold images together. New images get the classes that are "
            f"in more than half of the folds' sets, which promises {max(2 * wanted - 100, 0):g} % only{empty}."
        )
    return sentences


def sets_rows(block: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Of all images, then of each class: name, n, coverage, its interval, mean size of the sets."""
    named = {"all": block, **{f"of {name}": each for name, each in block["per_class"].items()}}
    return [
        (
            name,
            f"{each['n']:,}",
            UNDEFINED if each["coverage"] is None else percent(each["coverage"], max(each["n"], 1)),
            _interval(each["coverage_ci95"], each["n"]),
            UNDEFINED if each["mean_size"] is None else f"{each['mean_size']:.2f}",
        )
        for name, each in named.items()
    ]


def sizes_sentence(block: Mapping[str, Any]) -> str:
    """How many sets have how many classes, and by what the coverage may differ by chance."""
    n = block["n"]
    sizes = [
        f"{counted(count, 'set')} of {size}" for size, count in enumerate(block["sizes"]) if size and count
    ]
    empty = block["sizes"][0]
    parts = [counted(empty, "empty set"), *sizes]
    sentence = f"By number of classes: {enumerated(parts)}."
    expected = block.get("expected_range")
    if expected:
        sentence += (
            f" With as many images to set the threshold and {n:,} to score, 95 % of runs find a coverage of "
            f"{_interval(expected, n)} (beta-binomial law)."
        )
    return sentence


def _interval(interval: Any, n: int) -> str:
    return "" if interval is None else f"{percent(interval[0], n)[:-2]} to {percent(interval[1], n)}"
