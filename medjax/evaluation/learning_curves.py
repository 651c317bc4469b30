"""How the losses of the epochs of a training end."""

import math

import numpy as np
from jaxtyping import Float

Losses = Float[np.ndarray, "epoch"]


def last_third(curve: Losses) -> int:
    """Epochs at the end of a curve: a third of them, and at least three of those that there are."""
    return min(max(math.ceil(len(curve) / 3), 3), len(curve))


def fall_at_end(curve: Losses) -> float:
    """By which share of itself a loss fell over its last third, along the least-squares line.

    Negative if it rose; 0 for a single epoch, and where it is not finite.
    """
    end = curve[-last_third(curve) :]
    if len(end) < 2 or not is_finite(end):
        return 0.0
    start, slope = np.polynomial.polynomial.polyfit(np.arange(len(end)), end, 1)
    return float(-slope * (len(end) - 1) / start) if start > 0 else 0.0


def has_left_minimum(val: Losses, train: Losses, share: float) -> bool:
    """Whether all of the last third of a validation loss is over this share above its minimum, while the training loss fell."""
    if not is_finite(val) or not is_finite(train):
        return False
    end, lowest = last_third(val), val.argmin()
    return bool(val[-end:].min() > (1 + share) * val[lowest] and train[-end:].mean() < train[lowest])


def is_finite(losses: Losses) -> bool:
    """Whether every epoch has a loss."""
    return bool(np.isfinite(losses).all())
