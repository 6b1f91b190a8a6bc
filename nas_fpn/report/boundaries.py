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
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nas_fpn.report.student import share_below, student_quantile

__all__ = ["bounds", "crossing"]

Array = NDArray[np.float64]

GRID = 201  # values of u between which what lies ahead is interpolated, on each side of a bend
NODES = 16  # of Gauss and Legendre, between two bends
ROUNDS = 8  # to the common scale of the levels; each leaves a tenth of the fault


@lru_cache(maxsize=64)
def bounds(first: int, last: int, error: float) -> tuple[float, ...]:
    """The t to exceed with ``first`` … ``last`` pairs, an entry each.

    The probability that any is exceeded, while the true difference is 0, is ``error`` (one side),
    as computed: up to a hundredth of it too much, so that the bounds are on the safe side.
    The levels of the looks are in proportion to 1, 4, 9, …: what few pairs say early costs little
    of what many say late. Of a difference of two standard deviations of a training 90 % are found
    with 3 to 10 pairs and an error of 1/80 (equal levels: 81 %; in proportion to 1, 2, 3: 87 %).

    >>> [round(t, 2) for t in bounds(3, 5, 0.025)]
    [15.16, 4.79, 3.03]
    """
    shape = [(n - first + 1.0) ** 2 for n in range(first, last + 1)]
    scale = error / sum(shape)
    for _ in range(ROUNDS):  # what is exceeded grows almost in proportion to the scale
        scale *= error / crossing(first, _at(first, [scale * x for x in shape]))
    return tuple(_at(first, [scale * x for x in shape]))


def crossing(first: int, over: list[float]) -> float:
    """The probability that t exceeds ``over[i]`` with ``first + i`` pairs, for any i, by chance.

    Backwards from the last look: ``ahead`` is, for a u of this look, the probability that a later
    look exceeds.
    """
    last = first + len(over) - 1
    cuts = {n: _cut(t, n) for n, t in zip(range(first, last + 1), over, strict=True)}
    ahead = _Ahead(-1.0, np.zeros(1), np.zeros(1))
    for n in range(last - 1, first - 1, -1):
        bend = math.sqrt(max(cuts[n + 1] ** 2 - 1, 0.0))
        u = _grid(n, bend, cuts[n])
        ahead = _Ahead(bend, u, _crossed(u, n, cuts[n + 1], ahead))
    # The first look: u / √n is the sine of an angle whose density is ∝ cos(angle)^(n-2)
    top, bend = _angle(cuts[first], first), min(ahead.bend, cuts[first])
    found = np.asarray(1 - share_below(top, first - 2))
    for low, high in pairwise((-math.pi / 2, _angle(bend, first), top)):
        angle, weights = _nodes(low, high)
        density = np.cos(angle) ** (first - 2) / _whole(first - 2)
        found = found + (weights * density * ahead.at(math.sqrt(first) * np.sin(angle))).sum()
    return float(found)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The probability to exceed at a later look, for values of u; bends at ``bend``.

    One more difference carries a u over the next cut only from √(cut² - 1) on; there the chance
    of it begins, and rises like a square root.
    """

    bend: float
    u: Array
    chance: Array

    def at(self, u: Array) -> Array:
        return np.asarray(np.interp(u, self.u, self.chance))


def _grid(n: int, bend: float, cut: float) -> Array:
    """Values of u up to ``cut``, closest together above ``bend``."""
    top = _angle(cut, n)
    middle = min(_angle(bend, n), top)
    below = np.linspace(-math.pi / 2, middle, GRID)
    above = middle + (top - middle) * np.linspace(0, 1, GRID)[1:] ** 2
    return np.asarray(math.sqrt(n) * np.sin(np.concatenate((below, above))))


def _crossed(u: Array, n: int, cut: float, ahead: _Ahead) -> Array:
    """For each ``u`` of n pairs: the probability to exceed ``cut`` with n + 1, or after that."""
    # u cos ψ + sin ψ = √(1 + u²) sin(ψ + atan u) is above a value between two angles, or nowhere
    between = []
    for value in (ahead.bend, cut):
        reach = np.arcsin(np.clip(value / np.sqrt(1 + u * u), -1.0, 1.0))
        between.append((reach - np.arctan(u), math.pi - reach - np.arctan(u)))
    (begin_bend, end_bend), (begin, end) = between
    edges = np.stack((np.full_like(u, -math.pi / 2), begin_bend, begin, end, end_bend))
    edges = np.clip(
        np.concatenate((edges, np.full((1, len(u)), math.inf))), -math.pi / 2, math.pi / 2
    )
    found = share_below(edges[3], n - 1) - share_below(edges[2], n - 1)
    for low, high in (edges[0:2], edges[1:3], edges[3:5], edges[4:6]):
        psi, weights = _nodes(low[:, None], high[:, None])  # [u, nodes]
        reached = ahead.at(u[:, None] * np.cos(psi) + np.sin(psi))
        density = np.cos(psi) ** (n - 1) / _whole(n - 1)
        found = found + (weights * density * reached).sum(1)
    return np.asarray(found)


def _nodes(low: Array | float, high: Array | float) -> tuple[Array, Array]:
    """Places and weights of Gauss and Legendre between two numbers, or many pairs of them."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = (high - low) / 2
    return low + half * (nodes + 1), half * weights


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
