"""What a sweep chose by, as it is kept."""

import json

import pytest

from medjax.errors import RefusedError
from medjax.scale.choice import keep_choice, kept_choice

SCORES = {"loss": 0.5, "balanced_accuracy": None, "auc": 0.75}
ROW = {"seed": 0, "directory": "config_000/seed_0000", "n": 20, **SCORES, "epochs": 2}
CONFIGURATIONS = [{"val": [ROW], "mean": SCORES, "diverged": []}, {"val": [], "mean": None, "diverged": [0]}]


def test_what_is_kept_comes_back(tmp_path):
    assert kept_choice(tmp_path, "loss", 2) is None
    keep_choice(tmp_path, "loss", CONFIGURATIONS)
    assert kept_choice(tmp_path, "loss", 2) == CONFIGURATIONS


def test_a_choice_by_another_score_or_of_other_configurations_is_refused(tmp_path):
    keep_choice(tmp_path, "loss", CONFIGURATIONS)
    with pytest.raises(RefusedError, match="chosen by loss already"):
        kept_choice(tmp_path, "auc", 2)
    with pytest.raises(RefusedError, match="other configurations"):
        kept_choice(tmp_path, "loss", 3)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"choose_by": "test", "configurations": []},
        {"choose_by": "loss", "configurations": [{"val": [{**ROW, "n": -1}], "mean": None, "diverged": []}]},
        {"choose_by": "loss", "configurations": [{"val": [], "mean": {"loss": "0"}, "diverged": []}]},
    ],
)
def test_a_strangers_choice_is_refused(tmp_path, value):
    (tmp_path / "choice.json").write_text(json.dumps(value))
    with pytest.raises(RefusedError, match=r"choice\.json"):
        kept_choice(tmp_path, "loss", 1)
