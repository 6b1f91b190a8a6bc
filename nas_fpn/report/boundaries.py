"""How large a paired t must be at each look, so that looking often is not a way to win.

Whoever tests after every new seed and stops at the first success tests too often: with the usual
5 % at each look from 3 to 10 seeds, 17 % of all equal necks would be told apart. So the looks share
one error rate. What each may take is exact, where Bonferroni's would be a bound, for differences
that are independent and normal, whatever their standard deviation. The problem is that of Jennison
and Turnbull 1991 ("Exact calculations for sequential t, χ² and F tests", Biometrika 78), solved
here in one dimension:

Let d_1, d_2, … be the differences by seed, S_n their sum, Q_n that of their squares, and
u_n = S_n / √Q_n, which rises with Student's t: t_n = u_n √((n - 1) / (n - u_n²)). Where the true
difference is 0, the direction of (d_1 … d_n) is uniform on the sphere and independent of Q_n. So
r = d_{n+1} / √Q_n, whose √n r is Student's t with n degrees of freedom, is independent of
u_1 … u_n, and with r = tan ψ, whose density is then in proportion to cos(ψ)^(n-1),

    u_{n+1} = (S_n + d_{n+1}) / √(Q_n + d_{n+1}²) = u_n cos ψ + sin ψ:

a Markov chain of one number, which no unknown standard deviation enters.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nas_fpn.report.student import share_below, student_quantile

__all__ = ["bounds", "crossing"]

Array = NDArray[np.float64]

GRID = 401  # values of u between which what lies ahead is interpolated
NODES = 48  # of Gauss and Legendre, on each side of what crosses
HALVINGS = 30  # of the bracket of the common scale of the levels


@lru_cache(maxsize=64)
def bounds(first: int, last: int, error: float) -> tuple[float, ...]:
    """The t to exceed with ``first`` … ``last`` pairs, an entry each.

    The probability that any is exceeded, while the true difference is 0, is ``error`` (one side).
    The levels of the looks are in proportion to 1, 4, 9, …: what few pairs say early costs little
    of what many say late. Of a difference of two standard deviations of a training 90 % are found
    with 3 to 10 pairs and an error of 1/80 (equal levels: 81 %; in proportion to 1, 2, 3: 87 %).

    >>> [round(t, 2) for t in bounds(3, 5, 0.025)]
    [15.14, 4.79, 3.02]
    """
    shape = [(n - first + 1.0) ** 2 for n in range(first, last + 1)]
    low, high = 0.0, error / max(shape)  # at ``high`` the last look alone spends it all
    if first == last:
        low = high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if crossing(first, _at(first, [middle * x for x in shape])) > error:
            high = middle
        else:
            low = middle
    return tuple(_at(first, [low * x for x in shape]))


def crossing(first: int, over: list[float]) -> float:
    """The probability that t exceeds ``over[i]`` with ``first + i`` pairs, for any i, by chance.

    Backwards from the last look: ``ahead`` is, for a u of this look, the probability that a later
    look exceeds.
    """
    last = first + len(over) - 1
    cuts = [_cut(t, n) for n, t in zip(range(first, last + 1), over, strict=True)]
    grid, ahead = np.zeros(1), np.zeros(1)
    for n in range(last - 1, first - 1, -1):
        u = math.sqrt(n) * np.sin(np.linspace(-math.pi / 2, _angle(cuts[n - first], n), GRID))
        ahead, grid = _later(u, n, cuts[n + 1 - first], grid, ahead), u
    # The first look: u / √n is the sine of an angle whose density is ∝ cos(angle)^(n-2)
    top = _angle(cuts[0], first)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = (top + math.pi / 2) / 2
    angle = -math.pi / 2 + half * (nodes + 1)
    density = np.cos(angle) ** (first - 2) / _whole(first - 2)
    later = np.interp(math.sqrt(first) * np.sin(angle), grid, ahead)
    return float(1 - share_below(top, first - 2) + half * (weights * density * later).sum())


def _later(u: Array, n: int, cut: float, grid: Array, ahead: Array) -> Array:
    """For each ``u`` of n pairs: the probability to exceed ``cut`` with n + 1, or after that."""
    # u cos ψ + sin ψ = √(1 + u²) sin(ψ + atan u) exceeds the cut between two angles, or nowhere
    turn = np.arctan(u)
    reach = np.arcsin(np.minimum(cut / np.sqrt(1 + u * u), 1.0))
    begin = np.clip(reach - turn, -math.pi / 2, math.pi / 2)
    end = np.clip(math.pi - reach - turn, begin, math.pi / 2)
    found = share_below(end, n - 1) - share_below(begin, n - 1)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    for low, high in ((np.full_like(u, -math.pi / 2), begin), (end, np.full_like(u, math.pi / 2))):
        half = (high - low)[:, None] / 2
        psi = low[:, None] + half * (nodes + 1)  # [u, nodes]
        reached = np.interp(u[:, None] * np.cos(psi) + np.sin(psi), grid, ahead)
        density = np.cos(psi) ** (n - 1) / _whole(n - 1)
        found = found + (half * weights * density * reached).sum(1)
    return np.asarray(found)


def _at(first: int, levels: list[float]) -> list[float]:
    return [student_quantile(level, first + i - 1) for i, level in enumerate(levels)]


def _cut(t: float, n: int) -> float:
    """The u of n pairs at which Student's t is ``t``."""
    return math.sqrt(n) * (1.0 if math.isinf(t) else t / math.sqrt(t * t + n - 1))


def _angle(u: float, n: int) -> float:
    return math.asin(min(u / math.sqrt(n), 1.0))


def _whole(power: int) -> float:
    """The integral of cos^power over -π/2 .. π/2."""
    return math.sqrt(math.pi) * math.gamma((power + 1) / 2) / math.gamma(power / 2 + 1)
