"""The README keeps its promises: its script runs and learns, its pictures exist, it stays short."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_script_runs_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (one_call,) = re.findall(r"`(medjax\.train\(.*)`", README)
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    *epochs, scores = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in epochs] == ["epoch 0", "epoch 1", "epoch 2"]
    assert float(re.match(r"accuracy (\S+) % \(95 % interval", scores)[1]) > 90
    run = eval(one_call, names)
    assert run.record["status"] == "done"
    assert (run.directory / "report.html").is_file()
    assert run.metrics["test"]["accuracy"] > 0.9
    assert run.metrics["baselines"]


def test_it_stays_short():
    assert len(README.splitlines()) <= 110


def test_pictures_are_there():
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", README)
    assert pictures
    assert [path for path in pictures if not (ROOT / path).is_file()] == []
