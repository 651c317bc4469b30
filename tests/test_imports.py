"""The house: imports run one way, by the file tree alone."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "medjax"
# A room may import from rooms of a lower number, and from itself.
LEVELS = {
    "errors": 0,
    "records": 1,
    "settings": 0,
    "config": 1,
    "files": 1,
    "csv_text": 1,
    "memory": 1,
    "problem_list": 2,
    "config_checks": 2,
    "commands": 2,
    "command_help": 3,
    "metrics": 1,
    "data": 2,
    "models": 2,
    "training": 3,
    "evaluation": 3,
    "explain": 4,
    "runs": 4,
    "progress": 4,
    "report": 5,
    "jobs": 6,
    "process": 2,
    "scale": 7,
    "cli": 8,
    "__main__": 9,
    "__init__": 9,
}
SEPARATE = {"data", "training", "evaluation"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "medjax")


def imported_rooms(path):
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("medjax.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = room_of(path)
    for other in imported_rooms(path) - {room}:
        assert LEVELS[other] < LEVELS[room], f"{room} imports {other}"
        assert not {room, other} <= SEPARATE, f"{room} imports {other}"


def test_every_room_has_its_place():
    assert {room_of(path) for path in FILES} == LEVELS.keys()


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of(path) == "data"], ids=lambda path: path.name
)
def test_data_is_host_side(path):
    assert not {name.split(".")[0] for name in imported_modules(path)} & {"jax", "flax", "optax", "orbax"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_flax_stays_in_models_and_learner(path):
    if room_of(path) != "models" and path.name != "learner.py":
        assert not any(name.split(".")[0] == "flax" for name in imported_modules(path))


def test_every_module_has_its_test_file():
    modules = [path for path in FILES if path.name not in ("__init__.py", "__main__.py")]
    expected = [path.relative_to(PACKAGE).with_name(f"test_{path.name}") for path in modules]
    assert not [path for path in expected if not (TESTS / path).exists()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_from_a_stranger_is_ever_run(path):
    text = path.read_text(encoding="utf-8")
    assert not {"pickle", "marshal", "shelve", "yaml"} & {
        name.split(".")[0] for name in imported_modules(path)
    }
    assert "extractall" not in text
    assert "allow_pickle=True" not in text
