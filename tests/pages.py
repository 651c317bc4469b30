"""A finished training run as files, and its page as a browser would read it."""

import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from medjax.config import DataConfig
from medjax.report.page.page import render_page
from tests.configs import plain

HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror='alert(2)'>", "{{ 7*7 }} & {% raw %} ]]>"]
CLASSES = ["AbdomenCT", "CXR", "Hand"]
FIGURES = ("curves", "confusion_matrix", "samples", "augmented", "errors")
PER_CLASS = {
    "AbdomenCT": (180, 1.0, 0.99444, 0.99721, 1.0, 0.99998, 0.9987),
    "CXR": (181, 0.98901, 1.0, 0.99448, 0.99444, 0.9987, 0.9976),
    "Hand": (179, None, 0.0, None, 0.00001, None, None),
}


def score_class(n, precision, recall, f1, specificity, auc, average_precision):
    rates = {"precision": precision, "recall": recall, "sensitivity": recall, "specificity": specificity}
    kinds = ("ci95", "ci95_grouped")
    intervals = {
        f"{name}_{kind}": None for name in ("sensitivity", "specificity", "precision") for kind in kinds
    }
    return {"n": n, **rates, **intervals, "f1": f1, "auc": auc, "average_precision": average_precision}


def calibration_test(value, if_calibrated, ci95, p, p_adjusted):
    """A block of `medjax.evaluation.score_records.CalibrationTest`."""
    return {
        "value": value,
        "if_calibrated": if_calibrated,
        "ci95": ci95,
        "p": p,
        "p_adjusted": p_adjusted,
    }


CALIBRATION = {
    "unit": "image",
    "units": 540,
    "in_the_large": calibration_test(-0.0021, 0.0, [-0.0073, 0.0031], 0.43, 1.0),
    "slope": calibration_test(0.91, 1.0, [0.31, 1.51], None, None),
    "intercept": calibration_test(0.2, 0.0, [-1.2, 1.6], None, None),
    "spiegelhalter": calibration_test(-0.85, 0.0, None, 0.39, 1.0),
    "classes": {
        name: calibration_test(difference, 0.0, [difference - 0.01, difference + 0.01], 0.3, 1.0)
        for name, difference in zip(CLASSES, (0.003, -0.002, -0.001), strict=True)
    },
    "detectable_gap": 0.0123,
}
SCORES = {
    "n": 540,
    "errors": 2,
    "accuracy": 538 / 540,
    "accuracy_ci95": [0.98659, 0.99898],
    "accuracy_ci95_grouped": None,
    "leading_ci95": "accuracy_ci95",
    "largest_class": {"name": "CXR", "share": 181 / 540, "gain_ci95": [0.62, 0.7]},
    "never_predicted": [],
    "balanced_accuracy": 0.9962,
    "balanced_accuracy_ci95": [0.99, 1.0],
    "macro_f1": 0.9961,
    "macro_f1_ci95": None,
    "auc": 0.99951,
    "auc_ci95": [0.9991, 0.9998],
    "average_precision": None,
    "average_precision_ci95": None,
    "loss": 0.0123456,
    "loss_ci95": None,
    "brier": 0.0123,
    "brier_ci95": [0.01, 0.02],
    "ece": 0.0211,
    "ece_if_calibrated": [0.004, 0.012],
    "calibration": CALIBRATION,
    "ece_binning": {"bins": 15, "kind": "equal width on the top probability"},
    "bootstrap": {"resamples": 1000, "seed": 0, "unit": "image", "units": 540, "withheld": None},
    "confusion_matrix": [[179, 1, 0], [0, 180, 0], [0, 1, 179]],
    "per_class": {name: score_class(*row) for name, row in PER_CLASS.items()},
}


def grouped_scores(block: dict, interval=(0.9, 0.999), units: int = 40) -> dict:
    """The same scores of images in groups; of a single group without any interval."""
    found = None if interval is None else list(interval)
    names = ("sensitivity_ci95_grouped", "specificity_ci95_grouped", "precision_ci95_grouped")
    return {
        **block,
        "accuracy_ci95_grouped": found,
        "leading_ci95": "accuracy_ci95_grouped",
        "bootstrap": {**block["bootstrap"], "unit": "group", "units": units},
        "per_class": {
            name: {**row, **dict.fromkeys(names, found)} for name, row in block["per_class"].items()
        },
        "calibration": {**block["calibration"], "unit": "group", "units": units},
    }


LEAKAGE = {
    "level": "image",
    "statement": "Image level; no patient identifiers: images of one patient may lie in several parts.",
    "groups_across_parts": {"n": 0, "named": {}},
    "threshold": 2.0,
    "test": {"n": 540, "exact": 0, "near": 0, "by_class": {"CXR": {"n": 181, "exact": 0, "near": 0}}},
}
CONFIG = plain(seed=7, epochs=2, baselines=False, data=DataConfig(group_duplicates="none"))
RUN = {
    "medjax": "0.1.0",
    "job": "train",
    "command": "medjax train phantom",
    "status": "done",
    "started": "2026-11-22T10:30:00+01:00",
    "seed": 7,
    "strategy": "loop",
    "resumptions": [],
    "class_names": CLASSES,
    "config": json.loads(json.dumps(dataclasses.asdict(CONFIG))),
    "data": {
        "name": "phantom",
        "path": "/home/someone/secret/phantom",
        "fingerprint": "0123456789abcdef" * 4,
        "n": 3600,
        "image_shape": [28, 28, 1],
        "source_sizes": [[64, 64], [64, 64]],
        "window": None,
        "is_synthetic": True,
        "parts": "random, stratified by class",
        "groups": None,
        "leakage": LEAKAGE,
        "counts": {
            part: dict.fromkeys(CLASSES, n) for part, n in (("train", 840), ("val", 180), ("test", 181))
        },
        "loading": {
            "resized": 3600,
            "reshaped": 0,
            "reoriented": 1,
            "recolored": 0,
            "skipped": 2,
            "ignored": 0,
            "bad": 0,
        },
    },
    "model": {
        "name": "cnn",
        "parameters": 225034,
        "layers": [
            {"layer": "convolution 3×3, 32", "output_shape": [26, 26, 32], "parameters": 320},
            {"layer": "head/hidden", "kind": "Dense", "output_shape": [128], "parameters": 204928},
        ],
    },
    "versions": {"python": "3.11.7", "jax": "0.10.2"},
    "machine": {"platform": "Linux x86_64", "processor": "AMD EPYC", "device": "cpu", "cores": 2},
}
METRICS = {
    "test": SCORES,
    "val": {**SCORES, "errors": 1, "accuracy": 539 / 540, "accuracy_ci95": [0.98957, 0.99967], "loss": 0.25},
    "train": {
        **SCORES,
        "n": 2520,
        "errors": 0,
        "accuracy": 1.0,
        "accuracy_ci95": [0.99848, 1.0],
        "loss": 3.2e-6,
    },
    "training": {"epochs": 2, "best_epoch": None},
    "baselines": None,
    "seconds": {"load": 2.314, "compile": 3.02, "train": 245.4, "evaluate": 0.61, "total": 7381.0},
}
HISTORY = """fold,epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds
0,0,0.9,0.7,0.0555,0.98,0.001,1
0,1,0.1,0.9,nan,0.99,0.001,2
"""


class Page(HTMLParser):
    """What a browser would make of a page; fails on tags that do not match."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def values(self, tag: str, attribute: str) -> list[str | None]:
        return [
            attributes[attribute] for name, attributes in self.tags if name == tag and attribute in attributes
        ]


def png(format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("L", (640, 320), 200).save(stream, format)
    return stream.getvalue()


def write_run(run_dir: Path, run: dict, metrics: dict, figures: tuple[str, ...] = FIGURES) -> Path:
    (run_dir / "figures").mkdir(parents=True, exist_ok=True)
    (run_dir / "run.json").write_text(json.dumps(run))
    (run_dir / "metrics.json").write_text(json.dumps(metrics))
    (run_dir / "history.csv").write_text(HISTORY)
    for name in figures:
        (run_dir / "figures" / f"{name}.png").write_bytes(png())
    return run_dir


def rendered(run_dir: Path, run: dict, metrics: dict, figures: tuple[str, ...] = FIGURES) -> Page:
    return Page(render_page(write_run(run_dir, run, metrics, figures)))


def rename(run: dict, metrics: dict, names: list[str]) -> None:
    """Gives the classes other names, everywhere."""
    new = dict(zip(CLASSES, names, strict=True))
    run["class_names"] = names
    for counts in run["data"]["counts"].values():
        for old in CLASSES:
            counts[new[old]] = counts.pop(old)
    for part in ("test", "val", "train"):
        rename_scores(metrics[part], new)


def rename_scores(block: dict, new: dict[str, str]) -> None:
    """Gives the classes of a block of scores other names."""
    block["per_class"] = {new[old]: scores for old, scores in block["per_class"].items()}
    classes = block["calibration"]["classes"]
    block["calibration"] = {
        **block["calibration"],
        "classes": {new[old]: test for old, test in classes.items()},
    }
    block["largest_class"] = {**block["largest_class"], "name": new[block["largest_class"]["name"]]}


def spaced(run_dir: Path) -> str:
    """The page's text with a space where a table cell ends."""
    return Page(re.sub(r"(</t[dh]>)", r" \1", render_page(run_dir))).text
