"""Confidence intervals."""

import math

_NORMAL_975 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson_interval(successes: int | float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion, from `successes` of `n` independent trials; n is at least 1.

    `successes` may be a fraction, where it is the mean over several counts of the same trials.

    Unlike the usual p ± 1.96 standard errors it stays inside [0, 1] and keeps its coverage near 0 and 1.

    Reference: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927,
    https://doi.org/10.1080/01621459.1927.10502953.
    """
    share, z2 = successes / n, _NORMAL_975**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL_975 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n successes the bound is 0 and 1 exactly; rounding may put it just beside.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)
