"""A reporting checklist, answered from the files of the run as far as they can answer it.

The wording is ours; the questions follow two guidelines.

References:
    Collins et al.: TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
    regression or machine learning methods, BMJ 2024. https://doi.org/10.1136/bmj-2023-078378
    Tejani et al.: Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update, Radiology:
    Artificial Intelligence 2024. https://doi.org/10.1148/ryai.240300
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medjax.errors import counted
from medjax.report.headline import is_of_labels
from medjax.report.wording import enumerated, gain_measure, groups_kept, points, validation_decisions

AUTHOR = ""  # answer of an item that only the author of the study can answer
WITHHELD = "Withheld: a fold diverged."
_FITTED = {
    "stretch": "Resized",
    "pad": "Resized and padded with black",
    "crop": "Cropped to the center and resized",
}


class Item(NamedTuple):
    """A question of a guideline and its answer."""

    topic: str
    question: str
    answer: str


def fill_checklist(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Item]:
    """The items in the order of a paper; an empty answer is left to the author."""
    config = run["config"]
    training = config.get("training", config)  # a cross-validation holds it; a holdout is it
    return [
        Item("Title and aim", "What is the model for, who will use it, and at which point of care?", AUTHOR),
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
            _partitions(run),
        ),
        Item("Model", "What is the model, and how large?", _model(run, training)),
        Item("Training", "How was it trained, and how were settings chosen?", _training(run, training)),
        Item("Class imbalance", "What was done about classes of different sizes?", _balance(training)),
        Item("Measures", "By which metrics is it judged, and how certain are they?", _measures(metrics)),
        Item("Comparison", "How much better is it than baselines?", _comparison(metrics, training)),
        Item(
            "External test",
            "Was it tested on data from elsewhere?",
            "Not in this run; `medjax evaluate RUN DATA` does it.",
        ),
        Item("Fairness", "How does it perform in the groups of people it would be used for?", AUTHOR),
        Item(
            "Failures",
            "Where does it fail?",
            "All predictions are in predictions.csv."
            if run.get("several_labels")
            else "The misclassified images and the least confident predictions are shown on this page.",
        ),
        Item("Reproduction", "Can the result be reproduced?", _reproduction(run)),
        Item("Registration and funding", "Was the study registered, and who paid for it?", AUTHOR),
    ]


def _sample(run: Mapping[str, Any]) -> str:
    counts = run["data"]["counts"].values()
    totals = {name: sum(part.get(name, 0) for part in counts) for name in run["class_names"]}
    return f"{counted(run['data']['n'], 'image')}: " + ", ".join(
        f"{name} {n:,}" for name, n in totals.items()
    )


def _exclusions(loading: Mapping[str, int]) -> str:
    return (
        f"{counted(loading['ignored'], 'file')} by pattern, {counted(loading['bad'], 'image')} that cannot be used, "
        f"{counted(loading['skipped'], 'file')} that {'is no image' if loading['skipped'] == 1 else 'are no images'} of the set."
    )


def _preparation(run: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    side = run["data"]["image_shape"]
    augmented = "randomly augmented in training" if training["augment"] else "not augmented"
    fitted, window = _FITTED[training["data"]["fit"]], run["data"]["window"]
    range_ = f"values {window['low']} to {window['high']}" if window else "values 0 to 255"
    return f"{fitted} to {side[0]} × {side[1]} pixels, {range_} scaled to the range 0 to 1{_scaled(run['model'])}, {augmented}."


def _scaled(model: Mapping[str, Any]) -> str:
    if model.get("input") is None:
        return ""
    mean, deviation = (", ".join(map(str, model["input"][name])) for name in ("mean", "deviation"))
    return f", less a mean of {mean} and divided by {deviation} (a channel)"


def _partitions(run: Mapping[str, Any]) -> str:
    groups, parts = run["data"]["groups"], run["data"]["parts"]
    level = groups_kept(groups) if groups else "Image level."
    return f"{parts[:1].upper()}{parts[1:]}. {level}"


def _model(run: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    model, augmentations = run["model"], training["test_time_augmentation"]
    kind = f" ({model['kind']})" if model.get("kind") else ""
    averaged = (
        f"; predictions are averaged over {counted(augmentations, 'augmentation')} of the image (test-time augmentation)"
        if augmentations
        else ""
    )
    start = model.get("pretrained")
    started = f"; starts from “{Path(start['source']).name}”" if start else ""
    return f"Network “{model['name']}”{kind}, {counted(model['parameters'], 'parameter')}{started}{averaged}."


def _training(run: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    facts = [f"Preset “{training['preset']}”", f"seed {run['seed']}"]
    if "optimizer" in training:
        facts.append(f"optimizer {training['optimizer']}")
    if training["loss_proportional_sampling"]:
        facts.append("loss-proportional sampling")
    decisions = validation_decisions(training)
    choice = (
        f"the validation images decided {enumerated(decisions)}"
        if decisions
        else "nothing was chosen by validation scores"
    )
    return f"{', '.join(facts)}; within the run {choice}."


def _balance(training: Mapping[str, Any]) -> str:
    return {
        "none": "Nothing.",
        "weights": "Rare classes weigh more in the loss.",
        "sampling": "Rare classes are sampled more often.",
    }[training["class_balance"]]


def _measures(metrics: Mapping[str, Any]) -> str:
    block = metrics.get("pooled") or metrics.get("test")
    if not block:
        return WITHHELD
    others = "no intervals for the others" if block["bootstrap"]["withheld"] else "a bootstrap for the others"
    unit = block["bootstrap"]["unit"]
    calibration = "" if is_of_labels(block) else ", calibration"
    return (
        f"Accuracy, sensitivity, specificity, AUC{calibration} and more; Wilson intervals for proportions, "
        f"DeLong's or Newcombe's for the AUC, {others}, with {unit}s as independent."
    )


def _comparison(metrics: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    baselines = metrics["baselines"]
    scored = metrics.get("pooled") or metrics.get("test")
    if baselines is None and training["baselines"] and scored and is_of_labels(scored):
        return "Not measured: no label is there in some of the scored images and absent in others."
    if baselines is None:
        return WITHHELD if training["baselines"] else "Not measured in this run (--no-baselines)."
    gain, compared = baselines["gain_over_best_baseline"], counted(len(baselines["models"]), "baseline")
    interval = gain["ci95"]
    bounds = (
        "no interval: all images are of one group"
        if interval is None
        else f"95 % interval {points(interval[0])} to {points(interval[1])}"
    )
    return (
        f"{points(gain['difference'])} percentage points of {gain_measure(gain)} compared with the best of {compared} "
        f"({bounds})."
    )


def _reproduction(run: Mapping[str, Any]) -> str:
    return (
        f"medjax {run['medjax']}; command, seed, versions and the fingerprint of the data are on this page."
    )
