"""The bounds of all looks together are exceeded by chance as often as they may be."""

import math

import numpy as np
import pytest

from nas_fpn.report.boundaries import bounds, crossing
from nas_fpn.report.student import student_quantile


def students_t(values: np.ndarray, first: int) -> np.ndarray:
    """Student's t after each column of [runs, n], from ``first`` columns on."""
    n = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(1) / n
    variance = ((values**2).cumsum(1) - n * mean**2)[:, 1:] / (n[1:] - 1)
    return (mean[:, 1:] / np.sqrt(variance / n[1:]))[:, first - 2 :]


@pytest.mark.parametrize(
    ("first", "last", "error"), [(3, 10, 0.025), (3, 5, 0.0125), (2, 4, 0.1), (5, 20, 0.05)]
)
def test_equal_necks_exceed_them_as_often_as_is_asked(first: int, last: int, error: float) -> None:
    runs = 200_000
    chance = np.random.default_rng(0)
    t = students_t(chance.normal(size=(runs, last)), first)
    often = (t > np.array(bounds(first, last, error))).any(1).mean()
    assert often == pytest.approx(error, abs=3.5 * math.sqrt(error / runs))


def test_the_usual_bound_at_every_look_would_be_exceeded_more_than_three_times_as_often() -> None:
    usual = [student_quantile(0.025, n - 1) for n in range(3, 11)]
    assert crossing(3, usual) == pytest.approx(0.0836, abs=0.001)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_one_look_has_students_bound(n: int) -> None:
    assert bounds(n, n, 0.025) == pytest.approx((student_quantile(0.025, n - 1),), rel=1e-6)


@pytest.mark.parametrize("error", [0.025, 0.001])
def test_the_error_is_spent_whole(error: float) -> None:
    assert crossing(3, list(bounds(3, 9, error))) == pytest.approx(error, rel=1e-6)


def test_less_error_and_more_looks_ask_for_more() -> None:
    strict, usual = bounds(3, 8, 0.005), bounds(3, 8, 0.025)
    assert all(a > b for a, b in zip(strict, usual, strict=True))
    assert bounds(3, 12, 0.025)[-1] > student_quantile(0.025, 11)
    assert list(usual) == sorted(usual, reverse=True)
