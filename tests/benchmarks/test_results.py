"""The page of the benchmarks: what was measured stands there, what was not is said so."""

import json
import sys

import pytest

from benchmarks import __main__ as bench
from benchmarks.results import BENCHMARKS, read_record, render, write_results
from benchmarks.scaling import AXES, PREFIXES, describe_slopes

COMMANDS = {name: f"python -m benchmarks.{name}" for name in BENCHMARKS}
ENVIRONMENT = {
    "machine": {"processor": "abacus", "cores": 2, "platform": "wood", "device": "cpu"},
    "versions": {"jax": "0.10.2"},
}


def record(figures, **environment):
    return {
        "data": "phantom",
        "command": "python -m benchmarks.x",
        "date": "2026-11-22",
        "figures": {**figures, "environment": {**ENVIRONMENT, **environment}},
    }


def throughput():
    return record(
        {"b32": 9, "fraction_of_limit": {"b32": 0.5}, "pytorch_b32": 5, "ratio_b32": 1.8, "turns": 7}
    )


def networks():
    row = {"network": "resnet18-28", "MMAC": 457, "medjax": 90, "pytorch": 60, "way": "eager", "ratio": 1.5}
    compiled = {"program": "medjax", "cold_seconds": 20.0, "cached_seconds": 2.0, "times_stock_jax": 1.8}
    tables = {
        "training": [{**row, "asked_for": 1.0}],
        "compile_time": [{**compiled, "asked_for": "at most 2"}],
    }
    return record({"turns": 5, "seed": 0, **tables, "pytorch": {"torch": "2.13.0", "threads": 2}})


def scaling():
    tables = {
        axis: [
            {axis: work, "work": work, "seconds": work / 100, "peak_mebibytes": 500 + work}
            for work in range(2, 2 + len(points))
        ]
        for axis, points in AXES.items()
    }
    slopes = {}
    for axis, rows in tables.items():
        slopes |= describe_slopes(PREFIXES[axis], rows)
    return record({**slopes, "tables": tables})


def time_to_accuracy():
    rows = [{"seed": 100 + n, "errors": n, "cold_seconds": 20 + n, "warm_seconds": 18 + n} for n in range(3)]
    del rows[2]["warm_seconds"]  # as of seeds that are trained cold only
    figures = {"n": 3, "errors_mean": 1.0, "errors_sd": 1.0, "test_images": 8844, "runs": rows}
    return record({**figures, "keras_seconds": 290.0, "keras_errors": 4})


def test_every_benchmark_has_a_section_and_the_missing_say_so():
    text = render({"throughput": throughput()}, COMMANDS, {}, "keras==3.15.1\n")
    assert text.count("\n## ") == len(BENCHMARKS)
    assert text.count("Not measured yet") == len(BENCHMARKS) - 1
    assert "Not measured yet: `python -m benchmarks.startup`" in text
    assert "| batch 32 | 9 | 5 | 1.8 | 0.5 |" in text
    assert "2026-11-22; 7 turns." in text
    assert "keras 3.15.1" in text
    assert "abacus, 2 cores" in text


def test_a_page_without_any_benchmark_is_a_page():
    assert render({}, COMMANDS, {}, "").count("Not measured yet") == len(BENCHMARKS)


def test_another_machine_is_told_in_its_section():
    other = record({"cold_seconds": 1.0}, versions={"jax": "0.12.0"})
    text = render({"throughput": throughput(), "loading": other}, COMMANDS, {}, "")
    assert text.count("Not as above: jax 0.12.0.") == 1


def test_networks_have_a_table_a_task():
    text = render({"networks": networks()}, COMMANDS, {}, "")
    assert "2026-11-22; 5 turns; seed 0." in text
    assert "| resnet18-28 | 457 | 90 | 60 | eager | 1.5 | 1 |" in text
    assert "| medjax | 20 | 2 | 1.8 | at most 2 |" in text


def test_pictures_lie_beside_the_page(tmp_path):
    records = {"throughput": throughput(), "scaling": scaling(), "time_to_accuracy": time_to_accuracy()}
    records["networks"] = networks()
    write_results(records, COMMANDS, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    for name in records:
        assert f"](figures/{name}.png)" in text
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_damaged_or_missing_records_are_none(tmp_path):
    assert read_record(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"figures": ')
    assert read_record(tmp_path / "half.json") is None


def _fake_benchmarks(tmp_path, monkeypatch):
    """Let each benchmark be a script that counts its runs; of startup, one that fails. Returns the counter."""
    counter = tmp_path / "counter"
    counter.touch()
    script = (
        f"import json; open({str(counter)!r}, 'a').write('x'); print(json.dumps({throughput()['figures']!r}))"
    )

    def options_of(name, data):
        return ["-c", "import sys; sys.exit('no clock')" if name == "startup" else script, name]

    monkeypatch.setattr(bench, "KEPT", tmp_path / "bench")
    monkeypatch.setattr(bench, "options_of", options_of)
    monkeypatch.setattr(bench, "BENCHMARKS", {name: BENCHMARKS[name] for name in ("throughput", "startup")})
    monkeypatch.setattr(bench, "write_results", lambda records, commands: written.append(set(records)))
    written = []
    return counter, written


def test_what_is_kept_is_not_measured_again_and_failures_are_told(tmp_path, monkeypatch, capsys):
    counter, written = _fake_benchmarks(tmp_path, monkeypatch)
    for _ in range(2):
        with pytest.raises(SystemExit, match="failed: startup"):
            bench.main()
    assert counter.read_text() == "x"
    assert "no clock" in capsys.readouterr().err
    bench.main(only=("throughput",))
    assert counter.read_text() == "xx"
    with pytest.raises(SystemExit):
        bench.main(data="other.zip")
    assert counter.read_text() == "xxx"
    assert written == [{"throughput"}] * 4


def test_a_benchmark_with_data_of_its_own_is_not_given_any(tmp_path, monkeypatch):
    assert bench.options_of("networks", "medical.zip") == ["-m", "benchmarks.networks", "--json"]
    monkeypatch.setattr(bench, "KEPT", tmp_path)
    (tmp_path / "networks.json").write_text(json.dumps(networks()))
    (tmp_path / "throughput.json").write_text(json.dumps(throughput()))
    assert bench._is_kept("networks", "medical.zip")
    assert not bench._is_kept("throughput", "medical.zip")


def test_paths_of_this_machine_stay_out_of_the_page(tmp_path, monkeypatch):
    kept = {}
    monkeypatch.setattr(bench, "KEPT", tmp_path)
    monkeypatch.setattr(bench, "write_json", lambda path, value: kept.update(value))

    class Ended:
        returncode, stdout = 0, '{"turns": 1}'

    monkeypatch.setattr(bench.subprocess, "run", lambda line, **_: lines.append(line) or Ended)
    lines = []
    assert bench.measure("time_to_accuracy", "/home/somebody/medical.zip")
    assert kept["command"] == "python -m benchmarks.time_to_accuracy --data medical.zip --keras --json"
    assert lines == [[sys.executable, *bench.options_of("time_to_accuracy", "/home/somebody/medical.zip")]]
