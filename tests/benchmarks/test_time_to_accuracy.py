"""The sums of the benchmark, and the folder that the Keras job reads."""

import zipfile

import pytest

from benchmarks.time_to_accuracy import _extracted, compare, summarize

SECONDS = ("cold_seconds", "warm_seconds", "cold_ended_seconds", "warm_ended_seconds")


def row(seed, errors, seconds):
    return {
        "seed": seed,
        "n": 8844,
        "errors": errors,
        "loss": errors / 1000,
        **dict.fromkeys(SECONDS, seconds),
    }


def test_medians_of_seconds_means_of_errors():
    figures = summarize([row(100, 1, 10.0), row(101, 2, 11.0), row(102, 6, 90.0)])
    assert figures["n"] == 3
    assert figures["cold_seconds"] == 11.0
    assert figures["errors_mean"] == 3.0
    assert figures["errors_sd"] == pytest.approx(7**0.5)


def test_one_seed_has_no_spread():
    assert summarize([row(100, 1, 10.0)])["errors_sd"] is None


def test_the_peer_counts_from_its_start_to_its_score():
    keras = {f"{part}_seconds": 25.0 for part in ("starting", "loading", "training", "evaluating")}
    figures = compare({"cold_ended_seconds": 10.0, "warm_ended_seconds": 5.0}, {**keras, "errors": 3})
    assert figures["keras_seconds"] == 100.0
    assert (figures["ratio_cold"], figures["ratio_warm"]) == (10.0, 20.0)
    assert figures["keras_errors"] == 3


def test_a_wrapping_folder_is_taken_off(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in ("wrap/a/0.png", "wrap/b/0.png"):
            archive.writestr(name, b"")
    with _extracted(tmp_path / "data.zip") as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    assert not folder.exists()


def test_what_keras_cannot_read_is_refused(tmp_path):
    (tmp_path / "data.tar").write_bytes(b"tar")
    with pytest.raises(SystemExit, match=r"data\.tar: --keras needs"), _extracted(tmp_path / "data.tar"):
        pass
