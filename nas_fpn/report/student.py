"""Student's t for whole degrees of freedom: tails, quantiles, and the power of a test.

With t = √df · tan θ the density becomes cos(θ)^(df - 1), up to a constant, whose integral is a
finite sum (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4). The same angles carry the exact
boundaries of :mod:`nas_fpn.report.boundaries`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["share_below", "student_power", "student_quantile", "student_tail"]

Array = NDArray[np.float64]

HALVINGS = 80  # of a bracket of angles: to the last bits of a double
NODES = 500  # of a midpoint rule over a smooth integrand


def share_below(angle: ArrayLike, power: int) -> Array:
    """What share of the integral of cos(x)^power over -π/2 .. π/2 lies below ``angle``.

    >>> float(share_below(0.0, 3)), float(share_below(np.pi / 2, 4))
    (0.5, 1.0)
    """
    theta: Array = np.asarray(angle, np.float64)
    sine, cosine = np.sin(theta), np.cos(theta)
    # By parts, from 0 to θ: ∫ cos^m = cos^(m-1) sin / m + (m-1)/m ∫ cos^(m-2). Divided by the
    # same from 0 to π/2, ``whole``, each step of m adds its first term.
    even = power % 2 == 0
    share = theta / (math.pi / 2) if even else sine
    whole = math.pi / 2 if even else 1.0
    for m in range(2 if even else 3, power + 1, 2):
        whole *= (m - 1) / m
        share = share + cosine ** (m - 1) * sine / (m * whole)
    return np.asarray(0.5 + 0.5 * share)


def student_tail(t: ArrayLike, free: int) -> Array:
    """The probability that Student's t with ``free`` degrees of freedom exceeds ``t``.

    >>> round(float(student_tail(2.228, 10)), 4)
    0.025
    """
    return share_below(-np.arctan(np.asarray(t, np.float64) / math.sqrt(free)), free - 1)


def student_quantile(tail: float, free: int) -> float:
    """The t that is exceeded with probability ``tail``, in 0..1; infinite at 0.

    >>> round(student_quantile(0.025, 4), 3)
    2.776
    """
    if tail <= 0:
        return math.inf
    low, high = -math.pi / 2, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if share_below(-middle, free - 1) > tail:
            low = middle
        else:
            high = middle
    return math.sqrt(free) * math.tan(high)


def student_power(shift: float, bound: float, free: int) -> float:
    """The probability that (z + ``shift``) / s exceeds ``bound``: the power of a t-test.

    z is standard normal, s² an independent χ² / ``free``; ``shift`` is the true difference in
    standard errors. The integral over s of the normal's tail, by the midpoint rule.

    >>> round(student_power(0.0, student_quantile(0.025, 4), 4), 4)
    0.025
    """
    top = 1 + 10 / math.sqrt(2 * free)  # beyond it lies nothing
    s = (np.arange(NODES) + 0.5) * (top / NODES)
    log_density = (free - 1) * np.log(s) - free * s * s / 2
    weight = np.exp(log_density - log_density.max())
    tail = [0.5 * math.erfc((bound * x - shift) / math.sqrt(2)) for x in s.tolist()]
    return float((weight * tail).sum() / weight.sum())
