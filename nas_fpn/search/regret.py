"""What simulated searches had found when: means over their seeds, with intervals.

Intervals are of the 95 % bootstrap over searches (Efron 1979), by percentiles.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_fpn.search.simulate import Replayed

__all__ = ["Mean", "found_after", "found_within", "mean_of", "reach"]

DRAWS = 1000
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mean:
    """A value over searches and its 95 % interval; infinite is what was never reached."""

    value: float
    low: float
    high: float


def found_after(searches: Sequence[Replayed], trials: int) -> list[float]:
    """What each search had found when ``trials`` were trained, or at its end before."""
    return [_at([point.trials for point in one.points], one, trials) for one in searches]


def found_within(searches: Sequence[Replayed], seconds: float) -> list[float]:
    """What each search had found after so many seconds of its clock; likewise."""
    return [_at([point.seconds for point in one.points], one, seconds) for one in searches]


def mean_of(values: Sequence[float]) -> Mean:
    """The mean and its interval; the same values, the same interval.

    >>> mean_of([0.3, 0.3, 0.3])
    Mean(value=0.3, low=0.3, high=0.3)
    """
    numbers = np.asarray(values, dtype=np.float64)
    means = numbers[_draws(len(numbers))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Mean(round(float(numbers.mean()), 12), round(float(low), 12), round(float(high), 12))


def reach(searches: Sequence[Replayed], target: float, *, trials: int) -> Mean:
    """The first number of trials, up to ``trials``, whose mean over the searches is ``target``.

    Infinite if none is; so are the ends of the interval.
    """
    curves = np.asarray([found_after(searches, n) for n in range(trials + 1)], dtype=np.float64)
    drawn = curves[:, _draws(len(searches))].mean(axis=2)  # [trials + 1, DRAWS]
    low, high = np.percentile(_first(drawn, target), (2.5, 97.5), method="nearest")
    return Mean(
        float(_first(curves.mean(axis=1, keepdims=True), target)[0]), float(low), float(high)
    )


def _first(curves: Numbers, target: float) -> Numbers:
    """Along the first axis, where each column first reaches the target."""
    there = curves >= target - 1e-12
    return np.where(there.any(axis=0), there.argmax(axis=0), np.inf)


def _at(marks: Sequence[float], search: Replayed, mark: float) -> float:
    return search.points[bisect_right(marks, mark) - 1].found


def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(count, size=(DRAWS, count))
