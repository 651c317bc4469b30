import numpy as np
import pytest
from scipy.stats import binom, binomtest

from medjax.evaluation import wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (8841, 8844), (58912, 58954)])
def test_it_is_scipys(successes, n):
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_reports_result():
    low, high = wilson_interval(8844 - 3, 8844)  # 99.97 % is about 3 errors
    assert (round(low, 4), round(high, 4)) == (0.9990, 0.9999)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_it_covers_the_truth_as_often_as_it_says(share):
    n = 8844
    counts = np.arange(n + 1)
    intervals = np.array([wilson_interval(int(count), n) for count in counts])
    covers = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
    assert binom.pmf(counts, n, share)[covers].sum() == pytest.approx(0.95, abs=0.02)
