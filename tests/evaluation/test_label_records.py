"""Scores of several labels as a person reads them."""

from medjax.evaluation.label_scores import score_labels
from tests.predicted import make_label_predictions


def test_a_line_leads_with_the_mean_auc():
    scores = score_labels(make_label_predictions(), resamples=0)
    assert str(scores).startswith(f"mean AUC {scores.auc:.4f} of 3 labels, all labels right in ")
    assert repr(scores) == f"<LabelScores: {scores}>"
    assert scores.to_json()["micro"]["n"] == 900
