"""Train and honestly evaluate small medical-image classifiers in JAX.

The names below are the public API. They load their module when first used, so that `import medjax` is quick and
reading images does not wait for JAX.
"""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "reduce_on_plateau": "medjax.training.controls",
    "early_stopping": "medjax.training.controls",
    "best_so_far": "medjax.training.controls",
    "Watch": "medjax.training.folds",
    "Controls": "medjax.training.folds",
    "SeedRuns": "medjax.jobs.seeds",
    "Scores": "medjax.evaluation.score_records",
    "cross_entropy": "medjax.training.losses",
    "binary_cross_entropy": "medjax.training.losses",
    "score_labels": "medjax.evaluation.label_scores",
    "choose_thresholds": "medjax.evaluation.label_thresholds",
    "fit_calibrator": "medjax.evaluation.calibrators",
    "fit_sets": "medjax.evaluation.prediction_sets",
    "LabelScores": "medjax.evaluation.label_records",
    "fit_many": "medjax.scale.many_fits",
    "fit_folds": "medjax.training.fit",
    "as_network": "medjax.models.as_network",
    "Variables": "medjax.models.network",
    "Network": "medjax.models.network",
    "CNN": "medjax.models.cnn",
    "CROSSVAL_PRESETS": "medjax.config",
    "CrossvalConfig": "medjax.config",
    "Dataset": "medjax.records",
    "DivergedError": "medjax.errors",
    "Learner": "medjax.training.learner",
    "PRESETS": "medjax.config",
    "Predictions": "medjax.records",
    "RefusedError": "medjax.errors",
    "Run": "medjax.jobs.restored_run",
    "Split": "medjax.records",
    "TrainConfig": "medjax.config",
    "audit": "medjax.jobs.audit",
    "compare_runs": "medjax.jobs.compare",
    "cross_validate": "medjax.jobs.train",
    "explain_images": "medjax.jobs.explain",
    "grad_cam": "medjax.explain.grad_cam",
    "input_gradient": "medjax.explain.gradients",
    "integrated_gradients": "medjax.explain.gradients",
    "fit": "medjax.training.fit",
    "fold_splits": "medjax.data.splitting.splits",
    "load": "medjax.data.load",
    "load_checkpoint": "medjax.runs.checkpoint",
    "load_run": "medjax.jobs.restored_run",
    "make_adam": "medjax.training.optimizers",
    "make_dataset": "medjax.data.from_arrays",
    "make_learner": "medjax.training.learner",
    "predict": "medjax.training.predict",
    "make_augment": "medjax.training.augment",
    "mix_batch": "medjax.training.augment",
    "random_affine": "medjax.training.augment",
    "save_checkpoint": "medjax.runs.checkpoint",
    "score": "medjax.evaluation.scores",
    "select_fold": "medjax.training.strategies",
    "split": "medjax.data.splitting.splits",
    "sweep": "medjax.scale.sweep",
    "train": "medjax.jobs.train",
    "train_seeds": "medjax.jobs.seeds",
    "use_compilation_cache": "medjax.jobs.compilation_cache",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'medjax' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
