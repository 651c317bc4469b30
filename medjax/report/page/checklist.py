"""What reporting guidelines ask of a study like this, answered from the run; blank where only its author knows.

The items are worded by us after two guidelines, whose numbers stand beside them.

References:
    Collins et al.: TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
    regression or machine learning methods, BMJ 2024. https://doi.org/10.1136/bmj-2023-078378
    Tejani et al.: Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update, Radiology:
    Artificial Intelligence 2024. https://doi.org/10.1148/ryai.240300
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from medjax.report.wording import chosen, counted, listed

AUTHOR = ""  # stands for an answer that is the author's to give


class Item(NamedTuple):
    """A question of a guideline and its answer."""

    topic: str
    question: str
    answer: str


def fill_checklist(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Item]:
    """The items in the order of a paper; an empty answer is the author's to give."""
    config = run["config"]
    training = config.get("training", config)
    return [
        Item("Title and aim", "What is the model to be used for, by whom, and where in care?", AUTHOR),
        Item("Source of data", "Where and when were the images taken, and who was included?", AUTHOR),
        Item("Consent and ethics", "Who approved the use of the images?", AUTHOR),
        Item("Reference standard", "Who labelled the images, how, and how well do readers agree?", AUTHOR),
        Item("Sample", "How many images, of which classes?", _sample(run)),
        Item("Exclusions", "What was left out, and why?", _exclusions(run["data"]["loading"])),
        Item(
            "Preparation",
            "How were the images changed before the model saw them?",
            _preparation(run, training),
        ),
        Item(
            "Partitions",
            "How were images assigned to parts, and at what level are the parts disjoint?",
            _parts(run),
        ),
        Item("Model", "What is the model, and how large?", _model(run)),
        Item(
            "Training", "How was it trained, and by what were its settings chosen?", _training(run, training)
        ),
        Item("Class imbalance", "What was done about classes of different sizes?", _balance(training)),
        Item("Measures", "By which measures is it judged, and how sure are they?", _measures(metrics)),
        Item("Comparison", "What does it gain over simple models?", _comparison(metrics)),
        Item(
            "External test",
            "Was it tested on data from elsewhere?",
            "Not in this run; `medjax evaluate RUN DATA` does it.",
        ),
        Item("Fairness", "How does it do in the groups of people it would be used for?", AUTHOR),
        Item(
            "Failures",
            "Where does it fail?",
            "The misclassified and the least sure images are shown on this page.",
        ),
        Item("Reproduction", "Can the result be made again?", _reproduction(run)),
        Item("Registration and funding", "Was the study registered, and who paid for it?", AUTHOR),
    ]


def _sample(run: Mapping[str, Any]) -> str:
    counts = run["data"]["counts"].values()
    totals = {name: sum(part.get(name, 0) for part in counts) for name in run["class_names"]}
    return f"{counted(run['data']['n'], 'image')}: " + ", ".join(
        f"{name} {n:,}" for name, n in totals.items()
    )


def _exclusions(loading: Mapping[str, int]) -> str:
    left_out = loading.get("ignored", 0)
    junk = loading.get("skipped", 0)
    return f"{counted(left_out, 'file')} by pattern, {counted(junk, 'file')} that are no images of the set."


def _preparation(run: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    side = run["data"]["image_shape"]
    changed = "changed at random in training" if training["augment"] else "not augmented"
    return f"Resized to {side[0]} × {side[1]} pixels, scaled to 0 to 1, {changed}."


def _parts(run: Mapping[str, Any]) -> str:
    groups = run["data"].get("groups")
    level = f"Whole groups stay together: {counted(groups['n'], 'group')}." if groups else "Image level."
    parts = run["data"].get("parts")
    return f"{parts[:1].upper()}{parts[1:]}. {level}" if parts else level


def _model(run: Mapping[str, Any]) -> str:
    return (
        f"Convolutional network “{run['model']['name']}”, {counted(run['model']['parameters'], 'parameter')}."
    )


def _training(run: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    decisions = chosen(training)
    choice = (
        f"the validation part decided {listed(decisions)}" if decisions else "nothing was chosen by looking"
    )
    return f"Adam, preset “{training['preset']}”, seed {run['seed']}; within the run {choice}."


def _balance(training: Mapping[str, Any]) -> str:
    return {
        "none": "Nothing.",
        "weights": "Rare classes count more in the loss.",
        "sampling": "Rare classes are drawn more often.",
    }[training.get("class_balance", "none")]


def _measures(metrics: Mapping[str, Any]) -> str:
    block = metrics.get("pooled") or metrics.get("test")
    if not block:
        return "Withheld: a fold diverged."
    withheld = block.get("bootstrap", {}).get("withheld")
    other = "a bootstrap for the others" if not withheld else "none for the others"
    return f"Accuracy, sensitivity, specificity, AUC, calibration and more; Wilson intervals for proportions, {other}."


def _comparison(metrics: Mapping[str, Any]) -> str:
    if not metrics.get("baselines"):
        return "Not measured in this run (--no-baselines)."
    gain = metrics["baselines"]["gain_over_best_baseline"]
    low, high = gain["ci95"]
    return (
        f"{100 * gain['difference']:+.2f} percentage points of accuracy over the best of four "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f})."
    )


def _reproduction(run: Mapping[str, Any]) -> str:
    return (
        f"medjax {run['medjax']}, command, seed, versions and the fingerprint of the data are on this page."
    )
