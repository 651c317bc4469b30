"""Several seeds in words: mean, deviation and range beside the interval, and nothing that a terminal would obey."""

from pathlib import Path

from medjax.evaluation.seed_scores import summarize_seeds
from medjax.report.seeds import diagnosis_sentences, seeds_lines

ROWS = [
    {
        "seed": seed,
        "directory": f"seed_{seed:04d}",
        "n": 540,
        "errors": errors,
        "accuracy": 1 - errors / 540,
        "balanced_accuracy": 1 - errors / 540,
        "auc": auc,
        "loss": 0.01,
        "accuracy_ci95": [0.98, 0.999],
        "auc_ci95": [0.998, 0.9999],
    }
    for seed, errors, auc in ((0, 1, 0.9997), (3, 3, 0.9993))
]
METRICS = {
    "job": "train",
    "name": "phan\x1btom",
    "is_synthetic": False,
    "preset": "report",
    "part": "test",
    "same_images": False,
    "seeds": ROWS,
    "diverged": [],
    "mean": summarize_seeds(ROWS),
    "diagnosis": [],
    "seconds": {"total": 3.0},
}


def test_a_line_for_each_seed_and_one_for_all():
    first, second, together, following = seeds_lines(METRICS, Path("runs/x"))
    assert first == "seed 0: accuracy 99.81 %, 1 error of 540, AUC 0.9997"
    assert second == "seed 3: accuracy 99.44 %, 3 errors of 540, AUC 0.9993"
    assert together == (
        "over 2 seeds: accuracy 99.63 ± 0.26 % (99.44 to 99.81 %), 2.0 ± 1.4 errors (1 to 3), AUC 0.9995 ± 0.0003 (0.9993 "
        "to 0.9997): mean ± sd, and range; the 95 % interval of one run's accuracy, for its images, is 98.00 to 99.90 %, of "
        "its AUC 0.9980 to 0.9999, on average"
    )
    assert following == "next: open runs/x/report.html; each seed has a run of its own there"


def test_what_is_not_known_is_left_out_or_said():
    rows = [{**ROWS[0], "auc": None, "accuracy_ci95": None, "auc_ci95": None}]
    lines = seeds_lines({**METRICS, "seeds": rows, "mean": summarize_seeds(rows)}, Path("x"))
    assert lines[0] == "seed 0: accuracy 99.81 %, 1 error of 540"
    assert lines[1] == (
        "over 1 seed: accuracy 99.81 % (99.81 to 99.81 %), 1.0 errors (1 to 1): a single seed has no spread; no interval: "
        "all images of a run are of one group"
    )
    # The mean is withheld where a seed diverged.
    assert len(seeds_lines({**METRICS, "mean": None, "diverged": [4]}, Path("x"))) == 3


def test_what_to_change_names_the_seeds():
    found = {"name": "not learnt", "sentence": "It has not\x1b learnt.", "remedy": "train anew", "seeds": [3]}
    metrics = {**METRICS, "diagnosis": [found]}
    assert diagnosis_sentences(metrics) == [
        "in 1 of 2 seeds, as in seed 3: It has not\x1b learnt. To change it: train anew."
    ]
    assert (
        r"diagnosis: in 1 of 2 seeds, as in seed 3: It has not\x1b learnt."
        in seeds_lines(metrics, Path("x"))[3]
    )
