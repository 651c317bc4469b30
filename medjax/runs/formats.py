"""What the files of a run may hold, and how large each may be: run.json and metrics.json."""

import math
import string

from medjax.runs.schema import Check, fields, flag, items, number, optional, plain, table, text, whole

MAX_IMAGES = 10**8
MAX_CLASSES = 10**4
LARGEST_SIDE = 4096
"""Pixels a side of an image, as in the setting image_size."""
MAX_RECORD_BYTES = 16 * 2**20
"""Of run.json: that of a thousand classes takes a twentieth."""
MAX_METRICS_BYTES = 32 * 2**20
"""Of metrics.json, whose confusion matrices grow with the square of the number of classes."""

MAX_CONFORMAL_BYTES = 256 * 2**20
"""Of conformal.json: three numbers for each image that sets a threshold."""

_DIGEST = text(at_most=64, characters="0123456789abcdef")
_WORD = text(at_most=100)
_LINE = text(at_most=10_000)
_COUNT = whole(0, MAX_IMAGES)
_SHARE = optional(number(0, 1))
_WORDS = table(optional(_LINE), at_most=100)
_MACHINE = table(plain, at_most=100)
_INTERVAL = optional(items(number(), at_least=2, at_most=2))

_RESUMPTION = fields({"started": _WORD, "command": _LINE, "versions": _WORDS, "machine": _MACHINE})
_GROUPS = fields({"sources": items(_WORD, at_most=10), "n": whole(1, MAX_IMAGES), "fingerprint": _DIGEST})
_LEVEL = whole(-(2**16), 2**16 - 1)
_WINDOW = fields({"low": _LEVEL, "high": _LEVEL, "levels": whole(1, 2**16)}, {"bits": whole(8, 16)})
_SIZE = items(whole(1, 2**17), at_least=2, at_most=2)
_PAIR_OF_SIZES = items(_SIZE, at_least=2, at_most=2)
_LAYER = fields({"layer": _LINE, "parameters": whole(0)})
_SCALING = fields(
    {
        "mean": items(number(-1e6, 1e6), at_least=3, at_most=3),
        "deviation": items(number(1e-6, 1e6), at_least=3, at_most=3),
    }
)
_PRETRAINED = fields(
    {"source": _LINE, "sha256": optional(_DIGEST), "notes": items(_LINE, at_most=1000)},
    {"terms": optional(_LINE)},
)

RECORD = fields(
    {
        "job": text(choices=("train", "crossval")),
        "command": text(at_most=10**6),
        "status": text(at_most=100, characters=string.ascii_lowercase + " -"),
        "started": _WORD,
        "strategy": text(choices=("loop", "threads", "map", "vmap", "devices")),
        "config": table(plain, at_most=1000),  # `config_checks.from_dict` does the rest
        "resumptions": items(_RESUMPTION, at_most=10_000),
        "class_names": items(text(at_most=1000), at_least=1, at_most=MAX_CLASSES),
        "versions": _WORDS,
        "machine": _MACHINE,
        "data": fields(
            {
                "name": text(at_most=1000),
                "path": optional(_LINE),
                "fingerprint": _DIGEST,
                "n": whole(1, MAX_IMAGES),
                "image_shape": items(whole(1, LARGEST_SIDE), at_least=3, at_most=3),
                "is_synthetic": flag,
                "groups": optional(_GROUPS),
                "window": optional(_WINDOW),
                "source_sizes": optional(_PAIR_OF_SIZES),
            },
            {
                "parts": _LINE,
                "counts": table(table(_COUNT)),
                "images": table(_COUNT, at_most=100),
                "loading": table(plain),
                "leakage": table(plain),
                "table": optional(table(plain, at_most=100)),
                "dicom": optional(
                    fields({"rule": _LINE, "grouped_by": optional(_WORD)}, {"bits": whole(8, 16)})
                ),
            },
        ),
        "model": fields(
            {
                "name": _LINE,
                "source": text(choices=("medjax", "import", "python")),
                "settings": table(plain, at_most=1000),
                "parameters": whole(0),
            },
            {
                "layers": items(_LAYER, at_most=10**5),
                "input": optional(_SCALING),
                "pretrained": optional(_PRETRAINED),
            },
        ),
    },
    {"medjax": _WORD, "seed": whole(0, 2**32 - 1), "several_labels": flag},
)
"""run.json; the settings under `config` are checked by `config_checks.from_dict`."""

_ORDINAL = fields(
    {
        "quadratic_kappa": optional(number(-1, 1)),
        "quadratic_kappa_ci95": _INTERVAL,
        "mean_absolute_error": number(0),
        "mean_absolute_error_ci95": _INTERVAL,
    }
)
_TEST = fields({"value": optional(number())})
_BEFORE = fields(
    {"n": _COUNT, "loss": number(0)},
    {"errors": _COUNT, "brier": number(0, 2), "ece": number(0, 1), "slope": _TEST, "intercept": _TEST},
)
_COVERED = {"n": _COUNT, "coverage": _SHARE, "coverage_ci95": _INTERVAL, "mean_size": optional(number(0))}
_SET_SCORES = fields(
    {
        **_COVERED,
        "wanted": number(0, 1),
        "mean_size": number(0),
        "empty": number(0, 1),
        "single": number(0, 1),
        "sizes": items(_COUNT, at_least=1, at_most=MAX_CLASSES + 1),
        "per_class": table(fields(_COVERED), at_most=MAX_CLASSES),
    },
    {"expected_range": _INTERVAL},
)
_SCORES = fields(
    {
        "n": _COUNT,
        "errors": _COUNT,
        "accuracy": number(0, 1),
        "loss": optional(number(0)),
        "accuracy_ci95": _INTERVAL,
        "accuracy_ci95_grouped": _INTERVAL,
        "leading_ci95": text(choices=("accuracy_ci95", "accuracy_ci95_grouped")),
        "balanced_accuracy": number(0, 1),
        "balanced_accuracy_ci95": _INTERVAL,
        "largest_class": fields({"name": text(at_most=1000), "share": number(0, 1), "gain_ci95": _INTERVAL}),
        "never_predicted": items(text(at_most=1000), at_most=MAX_CLASSES),
        "bootstrap": fields({"unit": text(choices=("image", "group")), "units": whole(1, MAX_IMAGES)}),
        "per_class": table(fields({"n": _COUNT}), at_most=MAX_CLASSES),
    },
    {
        "macro_f1": _SHARE,
        "auc": _SHARE,
        "auc_ci95": _INTERVAL,
        "ordinal": _ORDINAL,
        "before_calibration": _BEFORE,
        "prediction_sets": _SET_SCORES,
        "confusion_matrix": items(items(_COUNT, at_most=MAX_CLASSES), at_most=MAX_CLASSES),
    },
)
_THRESHOLDS = table(number(0, 1), at_most=MAX_CLASSES)
_FOLD = fields(
    {"fold": whole(0, 10**6), "diverged": flag},
    {
        "repeat": whole(0, 10**6),
        "n": optional(_COUNT),
        "errors": optional(_COUNT),
        "accuracy": _SHARE,
        "loss": optional(number(0)),
        "epochs": whole(0),
        "thresholds": _THRESHOLDS,
    },
)
_THRESHOLD = number(0, 1.001)
_POINT = fields(
    {
        "positive": text(at_most=1000),
        "threshold": _THRESHOLD,
        "fold_thresholds": optional(items(_THRESHOLD, at_most=10**4)),
        "prevalence": _SHARE,
    }
)
_NUMBERS = items(number(-1e6, 1e6), at_least=1, at_most=MAX_CLASSES)


def _lines(low: float) -> Check:
    """Numbers of each class, from `low` to 1."""
    return items(items(number(low, 1), at_least=1, at_most=10**6), at_least=1, at_most=MAX_CLASSES)


_TEMPERATURE = number(0.01, 100)
_CALIBRATOR = fields(
    {
        "fold": whole(0, 10**6),
        "n": _COUNT,
        "method": text(choices=("temperature", "vector", "isotonic")),
    },
    {
        "temperature": _TEMPERATURE,
        "temperatures": items(_TEMPERATURE, at_least=1, at_most=MAX_CLASSES),
        "scales": _NUMBERS,
        "offsets": _NUMBERS,
        "probabilities": _lines(0.0),
        "shares": _lines(1e-9),  # which are divided by their sum
    },
)
_SETS = fields(
    {
        "coverage": number(0, 1),
        "sets": text(choices=("lac", "aps", "class")),
        "part": text(choices=("conformal", "val")),
        "folds": items(
            fields(
                {
                    "fold": whole(0, 10**6),
                    "n": _COUNT,
                    "units": items(_COUNT, at_least=1, at_most=MAX_CLASSES),
                }
            ),
            at_most=10**4,
        ),
    }
)
_FINDING = fields({"name": _WORD, "sentence": _LINE, "remedy": _LINE})
METRICS = fields(
    {},
    {
        **dict.fromkeys(("test", "val", "train", "pooled", "official_test"), optional(_SCORES)),
        "folds": items(_FOLD, at_most=10**5),
        "thresholds": _THRESHOLDS,
        "mean": optional(table(optional(number()))),
        "diagnosis": items(_FINDING, at_most=100),
        "operating_point": _POINT,
        "calibrators": items(_CALIBRATOR, at_most=10**4),
        "prediction_sets": _SETS,
        "seconds": table(number(0, math.inf)),
    },
)
"""metrics.json."""

_CONFORMAL_FOLD = fields(
    {
        "fold": whole(0, 10**6),
        "scores": items(number(0, 1.001), at_least=1, at_most=10**7),
        "labels": items(whole(0, MAX_CLASSES), at_least=1, at_most=10**7),
        "groups": items(whole(0, MAX_IMAGES), at_least=1, at_most=10**7),
    }
)
CONFORMAL = fields({"folds": items(_CONFORMAL_FOLD, at_least=1, at_most=10**4)})
"""conformal.json: the scores that set the thresholds of prediction sets."""

_SEED = whole(0, 2**32 - 1)
_OF_SEED = fields(
    {
        "seed": _SEED,
        "directory": _WORD,
        "n": _COUNT,
        "errors": _COUNT,
        "accuracy": number(0, 1),
        "accuracy_ci95": _INTERVAL,
        "auc": _SHARE,
        "auc_ci95": _INTERVAL,
        "loss": optional(number(0)),
    }
)
SEEDS = fields(
    {
        "job": text(choices=("train", "crossval")),
        "part": text(choices=("test", "pooled")),
        "same_images": flag,
        "seeds": items(_OF_SEED, at_most=1000),
        "diverged": items(_SEED, at_most=1000),
        "mean": optional(table(plain, at_most=100)),
        "diagnosis": items(_FINDING, at_most=100),
    },
    {"seconds": table(number(0, math.inf))},
)
"""metrics.json of runs that differ only in their seed."""
