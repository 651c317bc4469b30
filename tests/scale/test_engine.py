"""What starts a worker."""

import sys

from medjax.scale.engine import Workers


def test_a_worker_is_told_its_threads_and_the_users_network_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEN", "yes")
    plain = Workers(tmp_path, 3, None, False)
    assert plain.words == [sys.executable, "-m", "medjax.scale.worker"]
    assert plain.environment["PJRT_NPROC"] == "3"
    assert plain.environment["SEEN"] == "yes"
    assert "XLA_FLAGS" not in plain.variables
    own = Workers(tmp_path, 1, "nets.py:net", True)
    assert own.words[3:] == ["--model", "nets.py:net", "--compilation-cache"]
