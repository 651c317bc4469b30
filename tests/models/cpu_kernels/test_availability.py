"""When kernels are used, and what is said where they cannot be."""

import platform
import subprocess
import sys
import warnings

import llvmlite.binding
import pytest

from medjax.errors import RefusedError
from medjax.models.cpu_kernels import availability


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(availability, "_failure", None)
    availability.warn_once.cache_clear()
    availability._missing_for_llvm.cache_clear()
    yield
    availability.warn_once.cache_clear()
    availability._missing_for_llvm.cache_clear()


@pytest.mark.parametrize("setting", [None, "", "0", "1"])
@pytest.mark.parametrize(
    ("system", "machine", "is_tested"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", False),
        ("darwin", "arm64", False),
        ("darwin", "x86_64", False),
        ("win32", "AMD64", False),
    ],
)
def test_kernels_run_where_they_are_tested_or_asked_for(system, machine, is_tested, setting, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    if setting is None:
        monkeypatch.delenv(availability.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(availability.VARIABLE, setting)
    assert availability.is_wanted() == {"0": False, "1": True}.get(setting, is_tested)


def test_other_settings_are_refused(monkeypatch):
    monkeypatch.setenv(availability.VARIABLE, "yes")
    with pytest.raises(
        RefusedError, match=r"MEDJAX_CPU_KERNELS: it is 'yes' \(set it to 0 or 1, or unset it\)"
    ):
        availability.is_wanted()


def test_nothing_is_missing_here():
    assert availability.missing() is None


def test_without_llvmlite_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.delitem(sys.modules, "llvmlite.binding")
    assert availability.missing().startswith("llvmlite cannot be loaded (")


def test_without_its_shared_library_llvmlite_is_missing(monkeypatch):
    def fail():
        raise OSError("Could not find/load shared object file 'libllvmlite.so'")

    monkeypatch.setattr(llvmlite.binding, "get_default_triple", fail)
    assert "cannot be loaded (Could not find/load shared object" in availability.missing()


def test_a_process_that_may_not_make_memory_executable_is_told_so():
    script = """
import ctypes, sys
from medjax.models.cpu_kernels import availability
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
print(availability.missing())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if result.returncode == 77:
        pytest.skip("needs Linux 6.3 or newer")
    assert result.stdout == "this process may not make memory executable\n", result.stderr


def test_a_warning_is_given_once_for_each_reason():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            availability.warn_once("no LLVM")
        availability.warn_once("CPU kernels are for float32, not bfloat16")
    assert [str(warning.message).partition(":")[0] for warning in caught] == [
        "no LLVM",
        "CPU kernels are for float32, not bfloat16",
    ]


def test_after_a_failure_no_kernel_is_tried_again():
    with pytest.warns(RuntimeWarning, match=r"the kernel failed: XLA's convolutions run instead"):
        availability.give_up("the kernel failed")
    assert availability.missing() == "the kernel failed"
