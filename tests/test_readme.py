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
    for path in paths_of_tree(tree):
        assert path.exists(), path


def paths_of_tree(tree):
    """The paths that a tree indented by two spaces names: words before a gap that end in a slash or a suffix."""
    folders = [ROOT]
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = [word for word in line.split() if re.fullmatch(r"[a-z_]+(/|\.[a-z]+)", word)]
        for name in names:
            yield folders[depth] / name
        folders[depth + 1 :] = [folders[depth] / names[0]] if names else []


def test_a_path_that_is_not_there_is_found():
    missing = [
        path for path in paths_of_tree("medjax/\n  data/\n    config.py  load.py\n") if not path.exists()
    ]
    assert missing == [ROOT / "medjax" / "data" / "config.py"]


def test_pictures_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).is_file()


def test_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`?make ([a-z][a-z-]*)", README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    assert named - {"train", "test"} <= targets | {"and"}
    assert {"install", "train", "test", "check"} <= targets
