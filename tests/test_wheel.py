"""The wheel: built from the checkout, installed in a fresh environment, it holds the whole package and runs the main job."""

import ast
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built offline by the project's own build backend, which the extra `dev` installs."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def fresh_environment(wheel, tmp_path_factory):
    """A virtual environment with the wheel in it. It shares our installed dependencies, but not our checkout."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # One folder on the path. What it says of further ones (an editable install of medjax) is not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


def run_in(environment, folder, *command):
    """Run a program of the environment in `folder`, with nothing of ours on its path; return its stdout."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = environment / "bin" / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "medjax"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(tracked.stdout.split())
    assert {"medjax/report/page/page.html.jinja", "medjax/report/page/page.css"} <= names


def test_it_declares_everything_that_the_package_imports(wheel):
    (distribution,) = metadata.distributions(path=[str(wheel)])
    requirements = map(Requirement, distribution.requires)
    # What reads DICOM and what works on many fits are extras; without one a line says what to install.
    extras = ("", "dicom", "ray")
    declared = {
        _plain(each.name)
        for each in requirements
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    }
    of_module = metadata.packages_distributions()
    for path in (ROOT / "medjax").rglob("*.py"):
        for module in imported(path) - {"medjax"} - sys.stdlib_module_names:
            assert declared & set(map(_plain, of_module.get(module, [module]))), f"{path} imports {module}"


def _plain(name):
    return name.lower().replace("_", "-")


def imported(path):
    """The top-level names of the modules that a file imports, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_the_main_job_runs_from_an_empty_folder(fresh_environment, tmp_path):
    code = "import medjax; print(medjax.__file__)"
    assert Path(run_in(fresh_environment, tmp_path, "python", "-c", code).strip()).is_relative_to(
        fresh_environment
    )
    out = run_in(fresh_environment, tmp_path, "medjax", "train", "phantom", "--epochs", "1")
    assert out.startswith("test: accuracy ")
    run = tmp_path / "runs" / "phantom-standard-000"
    assert (run / "report.html").stat().st_size > 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
