"""The README's promises: its script runs, its files exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_script_runs_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(script, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert float(lines[-1]) > 0.9
    assert (tmp_path / "my-model").is_dir()


def test_the_file_tree_is_the_file_tree():
    (tree,) = re.findall(r"```\n(medjax/.*?)```", README, flags=re.DOTALL)
    for line in tree.splitlines():
        name = line.split()[0]
        assert list(ROOT.glob(f"**/{name.rstrip('/')}")), name


def test_pictures_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).is_file()


def test_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`?make ([a-z][a-z-]*)", README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    assert named - {"train", "test"} <= targets | {"and"}
    assert {"install", "train", "test", "check"} <= targets
