"""Why a fit could not be finished, as it comes back."""

import pytest

from medjax.errors import Problem, RefusedError
from medjax.scale.answers import Answer, answer_path, forget_answer, read_answer, write_answer


def test_an_answer_comes_back_and_is_forgotten(tmp_path):
    description = tmp_path / "fold_00.json"
    assert read_answer(description) is None
    for answer in (
        Answer("refused", (Problem("--positive", "is no class", "name one"),)),
        Answer("diverged", message="training of fold 0 diverged"),
    ):
        write_answer(description, answer)
        assert read_answer(description) == answer
    forget_answer(description)
    assert read_answer(description) is None


@pytest.mark.parametrize("text", ["[]", "{}", '{"status": "done", "message": "", "problems": []}'])
def test_a_strangers_answer_is_refused(tmp_path, text):
    answer_path(tmp_path / "a.json").write_text(text)
    with pytest.raises(RefusedError, match=r"a\.answer\.json"):
        read_answer(tmp_path / "a.json")
