"""The memory that is free, as the system tells it."""

import jax
import numpy as np
import pytest

from medjax import memory
from medjax.errors import RefusedError
from medjax.memory import available_memory, empty_for_device, in_words, require_memory
from tests.sample_files import write_folder

MACHINE = {"proc/meminfo": b"MemTotal:  9000 kB\nMemAvailable:    8000 kB\n"}
NEW, OLD = "sys/fs/cgroup", "sys/fs/cgroup/memory"
GROUP = {
    "proc/self/cgroup": b"0::/user/job\n",
    f"{NEW}/user/job/memory.max": b"max\n",
    f"{NEW}/user/job/memory.current": b"1000\n",
    f"{NEW}/user/memory.max": b"5000000\n",
    f"{NEW}/user/memory.current": b"2000000\n",
    f"{NEW}/user/memory.stat": b"anon 1\ninactive_file 500000\n",
}
OLD_GROUP = {
    "proc/self/cgroup": b"3:cpu:/elsewhere\n2:memory:/job\n",
    f"{OLD}/job/memory.limit_in_bytes": b"3000000\n",
    f"{OLD}/job/memory.usage_in_bytes": b"1000000\n",
    f"{OLD}/job/memory.stat": b"total_inactive_file 7\n",
}
FULL = {**GROUP, f"{NEW}/user/memory.current": b"9000000\n", f"{NEW}/user/memory.stat": b""}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MACHINE, 8000 * 1024),
        ({**MACHINE, **GROUP}, 3_500_000),
        ({**MACHINE, **OLD_GROUP}, 2_000_007),
        ({**MACHINE, **FULL}, 0),
        ({**MACHINE, "proc/self/cgroup": b"\xffnonsense\n\n1:\n"}, 8000 * 1024),
    ],
)
def test_the_smallest_of_machine_and_control_groups(tmp_path, files, expected):
    assert available_memory(write_folder(tmp_path, files)) == expected


def test_what_is_unknown_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda _: (_ for _ in ()).throw(ValueError("unknown")))
    assert available_memory(tmp_path) is None
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    require_memory(10**9, (4096, 4096), 3)


def test_this_machine_has_some():
    assert available_memory() > 2**20


def test_a_refusal_says_what_is_needed_what_there_is_and_what_to_lower(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**30)
    require_memory(1024, (1024, 1024), 1)
    with pytest.raises(RefusedError) as refusal:
        require_memory(1024, (1024, 1024), 4)
    assert str(refusal.value) == (
        "1,024 images of 1024 by 1024 pixels: need 4.0 GiB of memory, and 1.0 GiB are available "
        "(give fewer images, or train with --image-size 512 or less)"
    )


@pytest.mark.parametrize(("size", "words"), [(12, "12 bytes"), (2048, "2.0 KiB"), (3 * 2**40, "3,072.0 GiB")])
def test_sizes_in_words(size, words):
    assert in_words(size) == words


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("side", [3, 28, 512])
def test_a_cpu_device_shares_an_array_that_is_made_for_it(dtype, side):
    """NumPy's own large arrays are copied, which is why this exists."""
    array = empty_for_device((5, side, side, 3), dtype)
    array[...] = 7
    on_device = jax.device_put(array, jax.devices("cpu")[0])
    assert (array.shape, array.dtype) == ((5, side, side, 3), dtype)
    assert on_device.unsafe_buffer_pointer() == array.ctypes.data
    assert empty_for_device((0, 2), dtype).shape == (0, 2)
