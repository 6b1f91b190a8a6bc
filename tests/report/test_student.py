"""Student's t in closed form equals scipy's."""

import math

import numpy as np
import pytest
from scipy import stats

from nas_fpn.report.student import share_below, student_power, student_quantile, student_tail


@pytest.mark.parametrize("free", [1, 2, 3, 4, 7, 10, 29])
def test_tails_are_scipys(free: int) -> None:
    t = np.linspace(-30, 30, 121)
    assert student_tail(t, free) == pytest.approx(stats.t.sf(t, free), abs=1e-13)


@pytest.mark.parametrize("free", [1, 2, 3, 4, 9, 30])
@pytest.mark.parametrize("tail", [1e-7, 1e-4, 0.0125, 0.5, 0.9])
def test_quantiles_are_scipys(free: int, tail: float) -> None:
    assert student_quantile(tail, free) == pytest.approx(
        stats.t.isf(tail, free), rel=1e-6, abs=1e-9
    )


def test_what_is_never_exceeded_is_infinite() -> None:
    assert student_quantile(0.0, 5) == math.inf


@pytest.mark.parametrize("free", [1, 2, 4, 9, 40])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 2.0, 5.0])
def test_power_is_the_noncentral_t(free: int, shift: float) -> None:
    expected = stats.nct.sf(3.0, free, shift) if shift else stats.t.sf(3.0, free)
    assert student_power(shift, 3.0, free) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("power", [0, 1, 2, 5, 8])
def test_shares_are_those_of_the_integral(power: int) -> None:
    x = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    whole = np.cumsum(np.cos(x) ** power)
    assert share_below(x[::20_000], power) == pytest.approx((whole / whole[-1])[::20_000], abs=1e-4)
