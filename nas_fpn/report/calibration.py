"""How far a short training ranks necks as a long one does: Kendall's τ, its interval, its noise.

The scores are of the same necks at several fidelities and at a reference, each with a few seeds.
A search ranks necks by one training of each, all with the same seed; so the τ of a fidelity is that
of its ranking with one seed against the means of the reference, the pairs of all its seeds pooled.
Luck that all necks of a seed share moves no ranking, and is taken off before seeds are averaged.

The interval is a percentile bootstrap over necks and seeds: necks are drawn with replacement, and
for each one seeds among its own. A neck drawn twice makes no pair with itself: pairs are weighted
by how often both are drawn. Seeds drawn anew add noise to what is noisy already, so that the
interval leans to the low side; a neck with one training lends it no noise.

**Attenuation.** Noise of the reference hides agreement: with the reliability r of its means (the
part of their variance that is not noise), even a perfect ranking is seen with τ = 2/π · asin √r,
and a τ that was seen stands for sin(π τ / 2) / √r, put back; both hold for normal scores (Kendall
and Gibbons 1990, chapter 10, for τ of a normal pair; Spearman 1904 for the correction).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

__all__ = [
    "Agreement",
    "Resolution",
    "agreement",
    "ceiling",
    "like_cost",
    "resolution_of",
    "seeds_for",
    "without_noise",
]

Array = NDArray[np.float64]

DRAWS = 2000
FEWEST_PAIRS = 10  # of necks, below which draws of them say nothing of others
FEWEST = 3  # necks of several seeds, below which nothing is said of noise


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's τ with its interval ``low`` … ``high``, over ``pairs`` pairs of necks.

    All NaN where there is no pair; the interval alone where there are too few of them.
    """

    tau: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """How far necks differ, and how far the seeds of one neck do, both as standard deviations.

    ``between`` is that of the necks' true means, the noise taken off, and 0 where noise explains
    all. ``noise`` is that of one training. ``reliability`` is the part of the variance of the
    means at hand that is not noise. ``p`` is the chance of means so far apart where all necks are
    equal: an F test of a two-way layout without interaction, exact where every neck has every seed,
    near enough where some have fewer. NaN where too few necks have several
    seeds.
    """

    between: float
    noise: float
    reliability: float
    p: float


def resolution_of(scores: ArrayLike) -> Resolution:
    """The spread of scores [necks, seeds], NaN where a training is missing."""
    table = _table(scores)
    whole = table[~np.isnan(table).any(1)]
    necks, seeds = whole.shape
    means = _means(table)[~np.isnan(table).all(1)]
    if seeds < 2 or necks < FEWEST:
        return Resolution(math.nan, math.nan, math.nan, math.nan)
    rest = whole - whole.mean(1, keepdims=True) - whole.mean(0) + whole.mean()
    free = (necks - 1) * (seeds - 1)
    noise = float((rest**2).sum() / free)
    counts = (~np.isnan(table)).sum(1)
    of_means = noise * float((1 / counts[counts > 0]).mean())
    seen = float(means.var(ddof=1))
    if of_means == 0:
        p = 1.0 if seen == 0 else 0.0
    else:
        p = float(fdtrc(len(means) - 1, free, seen / of_means))
    between = max(seen - of_means, 0.0)
    reliability = between / seen if seen else 0.0
    return Resolution(math.sqrt(between), math.sqrt(noise), reliability, p)


def agreement(
    scores: ArrayLike,
    reference: ArrayLike,
    *,
    pairs: NDArray[np.bool_] | None = None,
    level: float = 0.9,
    draws: int = DRAWS,
    seed: int = 0,
) -> Agreement:
    """τ between scores [necks, seeds], seed by seed, and the means of a reference [necks, seeds].

    NaN is a training that is missing. ``pairs`` [necks, necks] says which pairs count, such as
    those of :func:`like_cost`; None: all.

    >>> one = [[0.1], [0.2], [0.3], [0.4]]
    >>> agreement(one, one).tau
    1.0
    """
    ours, theirs = _table(scores), _table(reference)
    necks = len(ours)
    allowed = np.ones((necks, necks), bool) if pairs is None else np.asarray(pairs, bool)
    first, second = np.triu_indices(necks, 1)
    kept = allowed[first, second]
    first, second = first[kept], second[kept]
    truth = _means(theirs)
    known = ~np.isnan(_means(ours) + truth)
    count = int((known[first] & known[second]).sum())
    point = _tau(ours.T[:, None], truth[None], np.ones((1, necks)), first, second)[0]
    if count == 0 or math.isnan(point):
        return Agreement(math.nan, math.nan, math.nan, count)
    chance = np.random.default_rng(seed)
    weights = chance.multinomial(necks, [1 / necks] * necks, size=draws).astype(float)
    rankings = _redrawn(ours, chance, draws)
    truths = _mean_of(_redrawn(theirs, chance, draws))
    drawn = _tau(rankings, truths, weights, first, second)
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < draws / 2 or count < FEWEST_PAIRS:
        return Agreement(float(point), math.nan, math.nan, count)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Agreement(float(point), float(low), float(high), count)


def like_cost(costs: Sequence[float], *, within: float = 0.2) -> NDArray[np.bool_]:
    """Which pairs [necks, necks] cost nearly the same: the dearer at most ``1 + within`` times.

    >>> like_cost([100, 115, 130])[0].tolist()
    [True, True, False]
    """
    cost = np.asarray(costs, np.float64)
    dearer, cheaper = np.maximum.outer(cost, cost), np.minimum.outer(cost, cost)
    alike: NDArray[np.bool_] = dearer <= (1 + within) * cheaper
    return alike


def ceiling(reliability: float) -> float:
    """The τ that a perfect ranking would be seen with, against means of this reliability.

    >>> round(ceiling(1.0), 3), round(ceiling(0.8), 2)
    (1.0, 0.7)
    """
    return 2 / math.pi * math.asin(math.sqrt(reliability))


def without_noise(tau: float, reliability: float) -> float:
    """What a τ stands for, had the reference no noise; NaN where nothing but noise is known."""
    if not reliability > 0:
        return math.nan
    bare = math.sin(math.pi * tau / 2) / math.sqrt(reliability)
    return 2 / math.pi * math.asin(min(max(bare, -1.0), 1.0))


def seeds_for(spread: Resolution, tau: float) -> int | None:
    """How many seeds of the reference let a perfect ranking be seen with ``tau``; None: no number.

    >>> seeds_for(Resolution(between=0.01, noise=0.01, reliability=0.67, p=0.0), 0.7)
    4
    """
    if not spread.between > 0:
        return None
    needed = math.sin(math.pi * tau / 2) ** 2
    if needed >= 1:
        return None
    return max(math.ceil((spread.noise / spread.between) ** 2 * needed / (1 - needed)), 1)


def _table(scores: ArrayLike) -> Array:
    table = np.asarray(scores, np.float64)
    if table.ndim != 2:
        raise ValueError(f"scores must be [necks, seeds], but got {table.shape}")
    return table


def _centred(table: Array) -> Array:
    """Without what all necks of a seed share, as far as the necks that have every seed know it."""
    whole = table[~np.isnan(table).any(1)]
    return table - (whole.mean(0) - whole.mean()) if len(whole) else table


def _means(table: Array) -> Array:
    """[necks], NaN for a neck that has none."""
    return _mean_of(_centred(table).T)


def _mean_of(scores: Array) -> Array:
    """The mean over the first axis of what is there, NaN where nothing is."""
    known = ~np.isnan(scores)
    counts = known.sum(0)
    total = np.where(known, scores, 0.0).sum(0)
    means: Array = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    return means


def _redrawn(table: Array, chance: np.random.Generator, draws: int) -> Array:
    """[seeds, draws, necks]: for each neck as many of its own scores as it has, with replacement.

    NaN beyond those. Luck that a seed's necks share is taken off, so that seeds may be mixed.
    """
    centred = _centred(table)
    missing = np.isnan(centred)
    packed = np.take_along_axis(centred, np.argsort(missing, axis=1, kind="stable"), axis=1)
    counts = (~missing).sum(1)
    necks, seeds = table.shape
    picked = (chance.random((seeds, draws, necks)) * np.maximum(counts, 1)).astype(int)
    found: Array = packed[np.arange(necks), picked]
    found[np.arange(seeds)[:, None, None] >= np.broadcast_to(counts, found.shape)] = np.nan
    return found


def _tau(
    rankings: Array,
    truths: Array,
    weights: Array,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
) -> Array:
    """[draws]: τ-b of rankings [seeds, draws, necks] against the truth of a draw, pairs pooled.

    ``truths`` and ``weights`` are [draws, necks]. NaN where a draw has no pair.
    """
    by_truth = np.sign(truths[:, first] - truths[:, second])  # [draws, pairs]
    of_pair = weights[:, first] * weights[:, second]
    both, ours, theirs = np.zeros((3, len(of_pair)))
    for scores in rankings:
        by_score = np.sign(scores[:, first] - scores[:, second])  # [draws, pairs]
        weight = np.where(np.isnan(by_score + by_truth), 0.0, of_pair)
        score, truth = np.nan_to_num(by_score), np.nan_to_num(by_truth)
        both += (weight * score * truth).sum(1)
        ours += (weight * score**2).sum(1)
        theirs += (weight * truth**2).sum(1)
    size = np.sqrt(ours * theirs)
    found: Array = np.where(size > 0, both / np.where(size > 0, size, 1.0), np.nan)
    return found
