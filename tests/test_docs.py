"""What the pages promise: commands that parse, options, files, links and names that exist. `make docs` runs their code."""

import functools
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import tyro

import medjax
from medjax import cli
from medjax.errors import RefusedError

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        *(
            ROOT / name
            for name in ("README.md", "CONTRIBUTING.md", "experiments/LOG.md", "benchmarks/FOLDS.md")
        ),
        *sorted((ROOT / "docs").glob("*.md")),
    ]
}
COMMANDS = (
    "train",
    "crossval",
    "sweep",
    "evaluate",
    "predict",
    "explain",
    "compare",
    "audit",
    "split",
    "fetch",
)
# Options that the changelog names because they are gone.
REMOVED = {"--floors", "--no-floors", "--views", "--hard-draws", "--sixteen-bit"}


def code_of(page):
    """The lines of code of a page: fenced, indented by four spaces, or inline; continued lines joined, comments cut."""
    fenced = "\n".join(re.findall(r"^```.*?\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE))
    rest = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    indented = "\n".join(re.findall(r"^    (.*)$", rest, flags=re.MULTILINE))
    inline = "\n".join(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest))
    text = f"{fenced}\n{indented}\n{inline}".replace("\\\n", " ")
    return [re.split(r"\s#\s", line)[0].strip() for line in text.splitlines()]


def commands_of(program):
    """Every call of a program on any page, as (page, arguments)."""
    for name, page in PAGES.items():
        for line in code_of(page):
            if line.startswith(f"{program} "):
                yield name, shlex.split(re.split(r"[>|&]", line.removeprefix(program))[0])


def python_cells(page):
    """The Python code of a page that `make docs` executes, cell by cell."""
    for cell in re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE):
        code = re.sub(r"^:tags:.*\n+", "", cell)
        if not code.startswith("%%") or code.startswith("%%writefile"):
            yield re.sub(r"^%%.*\n", "", code)


def parse(function, arguments):
    """Parse a command line of a function without calling it."""
    tyro.cli(functools.wraps(function)(lambda *_, **__: None), args=arguments)


MEDJAX_CALLS = sorted({tuple(words) for _, words in commands_of("medjax")})
PYTHON_CALLS = sorted({tuple(words) for _, words in commands_of("python -m")})


def test_code_is_found_wherever_it_stands():
    page = "a `medjax audit\nDATA`\n\n    make test  # all\n\n```{code-cell} ipython3\n%%bash\nmedjax x \\\n  y\n```\n"
    assert [line for line in code_of(page) if line] == [
        "%%bash",
        "medjax x    y",
        "make test",
        "medjax audit DATA",
    ]
    assert len(MEDJAX_CALLS) > 30
    assert len(PYTHON_CALLS) > 10


@pytest.mark.parametrize("words", MEDJAX_CALLS, ids=shlex.join)
def test_commands_of_medjax_parse(words):
    command, *arguments = words
    if command in ("COMMAND", "--help"):
        return
    assert command in COMMANDS
    if not arguments:  # a command named in a sentence
        return
    if {"--help", "--help-all"} & set(arguments):
        with pytest.raises(SystemExit, match="0"):
            cli._parse(words)
    else:
        cli._parse(words)


@pytest.mark.parametrize("words", PYTHON_CALLS, ids=shlex.join)
def test_commands_of_experiments_and_benchmarks_parse(words):
    name, *arguments = words
    module = importlib.import_module(f"{name}.__main__" if name == "benchmarks" else name)
    if name == "experiments.leakage":
        functions = {"folds": module.compare_folds, "planted": module.plant_leak}
        function, arguments = functions[arguments[0]], arguments[1:]
    else:
        function = module.main
    parse(function, arguments)


def test_an_option_that_is_gone_is_found():
    from experiments import holdout

    with pytest.raises(SystemExit):
        parse(holdout.main, ["phantom", "--views", "16"])
    with pytest.raises(RefusedError, match="--views"):
        cli._parse(["train", "phantom", "--views", "16"])


@pytest.mark.parametrize("name", PAGES)
def test_options_that_are_named_exist(name, capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            cli._parse([command, "--help-all"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    known |= {"--help", "--help-all"}
    named = {line.split()[0].rstrip(",") for line in code_of(PAGES[name]) if line.startswith("--")}
    assert named - known - (REMOVED if name == "docs/CHANGELOG.md" else set()) == set()


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_and_test_files_that_are_named_exist(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    lines = code_of(PAGES[name])
    named = {re.split(r"\s+", line)[1] for line in lines if line.startswith("make ")}
    assert named - targets == set()
    if name == "CONTRIBUTING.md":  # all that a contributor may need; the README has make train
        assert targets - named == {"train", "peers", "clean"}
    files = {
        word
        for line in lines
        for word in re.findall(r"(?:tests|medjax|experiments|benchmarks)/[\w/]+\.\w+", line)
    }
    assert {path for path in files if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    folder = (ROOT / name).parent
    links = re.findall(
        r"\]\(([^)#]+)[^)]*\)|^```\{(?:image|include|literalinclude)\} (\S+)", PAGES[name], re.MULTILINE
    )
    missing = [path for pair in links for path in pair if path and not (folder / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_public_names_that_are_used_exist(name):
    used = set(re.findall(r"\bmedjax\.([A-Za-z_]+)", "\n".join(code_of(PAGES[name]))))
    rooms = {path.stem for path in (ROOT / "medjax").iterdir()}
    gone = {"holdout", "k_fold", "checkpoint", "checkpoint_series", "run"} if "CHANGELOG" in name else set()
    assert used - set(medjax.__all__) - rooms - gone == set()


@pytest.mark.parametrize("name", PAGES)
def test_cells_are_python_of_a_width_that_a_page_shows(name):
    for cell in python_cells(PAGES[name]):
        compile(cell, name, "exec")
        assert max(map(len, cell.splitlines())) <= 84, cell


def test_every_public_name_is_in_the_api():
    page = PAGES["docs/api.md"]
    documented = set(re.findall(r"^.. auto\w+:: (\w+)$|^:pyobject: (\w+)$", page, flags=re.MULTILINE))
    documented = {name for pair in documented for name in pair if name} | set(
        re.findall(r"`([A-Z_]+)`", page)
    )
    assert set(medjax.__all__) - documented == set()


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {version}\n" in PAGES["docs/CHANGELOG.md"]


def test_every_folder_is_in_the_file_tree():
    (tree,) = re.findall(r"```\n(medjax/.*?)```", PAGES["CONTRIBUTING.md"], flags=re.DOTALL)
    paths = set(paths_of_tree(tree))
    assert {path for path in paths if not path.exists()} == set()
    folders = {path.parent for path in (ROOT / "medjax").rglob("*.py")}
    assert folders - paths == set()


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
    paths = paths_of_tree("medjax/\n  data/\n    config.py  load.py\n")
    assert [path for path in paths if not path.exists()] == [ROOT / "medjax" / "data" / "config.py"]
