"""Threads that share the cores with the library of matrix products."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from medjax.evaluation.worker_threads import blocks, worker_threads


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_a_matrix_product_takes_one_thread_there_and_as_many_as_before_afterwards():
    before = threadpool_info()
    with worker_threads() as workers:
        assert blas_threads() == {1}
        assert list(workers.map(abs, [-1, 2])) == [1, 2]
    assert {pool["num_threads"] for pool in threadpool_info()} == {pool["num_threads"] for pool in before}


def test_the_library_of_scipy_takes_one_thread_too():
    code = (
        "from medjax.evaluation.worker_threads import worker_threads\n"
        "from threadpoolctl import threadpool_info\n"
        "with worker_threads():\n"
        "    import scipy.linalg\n"
        "    pools = [pool for pool in threadpool_info() if pool['user_api'] == 'blas']\n"
        "    assert all(pool['num_threads'] == 1 for pool in pools), pools\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_interruption_leaves_the_work_that_has_not_begun():
    done, go_on = [], threading.Event()

    def interrupted():
        with worker_threads() as workers:
            for index in range(1000):
                workers.submit(lambda index=index: (go_on.wait(10), done.append(index)))
            threading.Timer(0.05, go_on.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(done) < 1000


def test_an_error_of_a_thread_is_raised_to_the_caller():
    with worker_threads() as workers, pytest.raises(ZeroDivisionError):
        list(workers.map(lambda number: 1 / number, [1, 0]))


@pytest.mark.parametrize(("num_rows", "most"), [(0, 5), (5, 5), (6, 5), (41_266, 1024)])
def test_blocks_are_of_nearly_one_length_and_hold_every_row_once(num_rows, most):
    parts = [np.arange(num_rows)[block] for block in blocks(num_rows, most)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(num_rows))
    lengths = [len(part) for part in parts]
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1
