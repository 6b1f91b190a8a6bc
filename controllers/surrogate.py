"""The default: kernel ridge models of the score propose; what is under way is thought of too.

A small ensemble of Bayesian kernel ridge regressions, each with its own idea of which necks are
alike, predicts score and uncertainty from the choices and from the graph features of the canonical
neck (``problem.describe``). Each ask mutates the best necks known, adds random ones, and proposes
the candidate of the largest upper confidence bound (Srinivas et al. 2010, arXiv:0912.3995). Asks
in flight narrow the uncertainty around them without a score, so that parallel asks differ
(GP-BUCB: Desautels, Krause and Burdick 2014, JMLR 15). Of several objectives each ask maximises
another weighting (ParEGO: Knowles 2006, IEEE TEVC 10), so that the asks spread along the front.

Settings were chosen on the planted tables of the tests: what random search finds in 100 trials
takes 16 to 26 with one worker and 35 to 39 with 16. Extremely randomised trees (Geurts et al. 2006)
in place of the ridges needed more trials and about ten times as long per ask.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Problem, generator

Array = NDArray[np.float64]

MIXTURES = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))  # how choices and features share in a distance
LENGTHS = (0.5, 1.0, 2.0, 4.0)  # in root mean square distances of two random necks
NOISES = (0.03, 0.1, 0.3, 1.0)  # variance of the noise, in those of the score
MOST = 200  # scores that a model is fitted to: the best half and the latest
BEYOND = 4.0  # standard deviations at which a feature is cut
RHO = 0.05  # of the augmented Chebyshev weighting, as in ParEGO


def controller(
    problem: Problem,
    *,
    seed: int,
    start: int = 5,
    kappa: float = 2.0,
    members: int = 3,
    parents: int = 8,
    mutants: int = 32,
    fresh: int = 16,
    keep: int = 48,
    more: float = 0.35,
    trust: float = 0.0,
) -> "Surrogate":
    """Upper confidence bounds of an ensemble of kernel ridges.

    Until ``start`` necks are known and two of their scores differ, asks are random. After that
    each ask compares ``mutants`` children of the ``parents`` best necks (a child differs in one
    choice, and with the chance ``more`` in one further, again and again), ``fresh`` random necks,
    and the ``keep`` best candidates that the ask before did not propose. The bound is the mean of
    the ``members`` best models plus ``kappa`` standard deviations. Where the best model ranks the
    known necks, each predicted from the others, no better than ``trust`` (Spearman's
    correlation), the first child is proposed as it comes: evolution.
    """
    for name, value, least in (
        ("start", start, 2),
        ("members", members, 1),
        ("parents", parents, 1),
        ("mutants", mutants, 1),
        ("fresh", fresh, 0),
        ("keep", keep, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, but got {value}")
    if kappa < 0:
        raise ValueError(f"kappa must be at least 0, but got {kappa}")
    if not 0 <= more < 1:
        raise ValueError(f"more must be a chance in 0 .. 1 (without 1), but got {more}")
    return Surrogate(
        problem, seed, Habits(start, kappa, members, parents, mutants, fresh, keep, more, trust)
    )


@dataclass(frozen=True, slots=True)
class Habits:
    """The settings of :func:`controller`."""

    start: int
    kappa: float
    members: int
    parents: int
    mutants: int
    fresh: int
    keep: int
    more: float
    trust: float


@dataclass(frozen=True, slots=True)
class Known:
    """A neck with what its training showed; scores None: rejected, beyond a limit of the run."""

    genotype: Genotype
    scores: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Model:
    """What one member of the ensemble takes for alike; its evidence is told by the others."""

    mixture: tuple[float, float]
    length: float
    noise: float


class Surrogate:
    """What is known, what is under way, and the candidates that were good before.

    A score counts when it was measured at the full budget: complete, or repeated, which is the
    score of an equal neck and counts once. Rejected counts as the worst score known, since cost
    is a feature and limits can be learnt. Stopped and failed say nothing to the model. No neck of
    any of these, nor one under way, is proposed again while there is another candidate.
    """

    def __init__(self, problem: Problem, seed: int, habits: Habits) -> None:
        self._problem = problem
        self._seed = seed
        self._habits = habits
        self._open = [i for i, choice in enumerate(problem.choices) if choice.count > 1]
        self._asked = 0
        self._seen: set[str] = set()
        self._known: dict[str, Known] = {}
        self._scores: set[tuple[float, ...]] = set()
        self._running: dict[int, Genotype] = {}
        self._kept: dict[str, Genotype] = {}
        self._rows: dict[str, tuple[Array, Array]] = {}  # of what is known, running or kept
        self._models: list[tuple[Model, float]] = []  # and the weight of each
        self._rank = 0.0  # how the best model ranks what is known
        self._fit_next = 0  # models are chosen anew when so many necks are known

    def ask(self) -> Trial:
        """The prior, then random necks, then what the models think best."""
        number = self._asked
        chance = generator(self._seed, number)
        if number < len(self._problem.prior):
            genotype = self._problem.prior[number]
        else:
            genotype = self._proposal(chance)
        identity = self._problem.identity(genotype)
        self._seen.add(identity)
        self._kept.pop(identity, None)
        self._running[number] = genotype
        self._asked += 1
        return Trial(number, genotype)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """What was trained is learnt, also when it is not what was asked for."""
        self._running.pop(trial.number, None)
        identity = self._problem.identity(trial.genotype)
        self._seen.add(identity)
        if outcome.state in {"complete", "repeated"}:
            if identity not in self._known or self._known[identity].scores is None:
                scores = tuple(outcome.scores[name] for name in self._problem.objectives)
                self._known[identity] = Known(trial.genotype, scores)
                self._scores.add(scores)
        elif outcome.state == "rejected":
            self._known.setdefault(identity, Known(trial.genotype, None))

    def _proposal(self, chance: random.Random) -> Genotype:
        few = len(self._known) < self._habits.start or len(self._scores) < 2
        if few or not self._open:
            return self._random(chance)
        known = self._recent()
        values = self._values([one.scores for one in known], chance)
        best = sorted(range(len(known)), key=lambda i: -values[i])[: self._habits.parents]
        candidates = self._candidates([known[i].genotype for i in best], chance)
        if not candidates:
            return self._random(chance)
        running = list(self._running.values())
        choices, features = self._matrices(known, running, candidates)
        learnt = len(known)
        if len(self._known) >= self._fit_next:
            self._choose(choices[:learnt], features[:learnt], values)
        if self._rank <= self._habits.trust:
            return next(iter(candidates.values()))
        bound = self._bound(choices, features, values, len(running))
        order = np.argsort(-bound, kind="stable")
        names = list(candidates)
        self._kept = {names[i]: candidates[names[i]] for i in order[: 1 + self._habits.keep]}
        return candidates[names[order[0]]]

    def _recent(self) -> list[Known]:
        """All that is known, or the best half of ``MOST`` by the first objective and the latest."""
        known = list(self._known.values())
        if len(known) <= MOST:
            return known
        first = [-math.inf if one.scores is None else one.scores[0] for one in known]
        best = set(np.argsort(-np.array(first), kind="stable")[: MOST // 2].tolist())
        latest = [i for i in reversed(range(len(known))) if i not in best]
        return [known[i] for i in sorted([*best, *latest[: MOST - len(best)]])]

    def _values(
        self, scores: Sequence[tuple[float, ...] | None], chance: random.Random
    ) -> list[float]:
        """One number per neck, larger is better; of several objectives, of weights by chance.

        An objective counts from its worst to its best. For one objective the order is its own.
        """
        there = [one for one in scores if one is not None]
        if len(self._problem.objectives) == 1:
            return [min(there)[0] if one is None else one[0] for one in scores]
        low = [min(column) for column in zip(*there, strict=True)]
        high = [max(column) for column in zip(*there, strict=True)]
        shares = [chance.expovariate(1.0) for _ in low]  # uniform over all weights of sum 1
        weights = [share / sum(shares) for share in shares]

        def value(one: tuple[float, ...]) -> float:
            short: list[float] = [
                weight * (top - x) / ((top - bottom) or 1.0)
                for weight, x, bottom, top in zip(weights, one, low, high, strict=True)
            ]
            return -max(short) - RHO * sum(short)

        worst = min(map(value, there))
        return [worst if one is None else value(one) for one in scores]

    def _candidates(self, parents: list[Genotype], chance: random.Random) -> dict[str, Genotype]:
        """Necks that were not proposed, by canonical id: children first."""
        found: dict[str, Genotype] = {}
        drawn = [self._child(chance.choice(parents), chance) for _ in range(self._habits.mutants)]
        drawn += [self._draw(chance) for _ in range(self._habits.fresh)]
        for genotype in drawn:
            found.setdefault(self._problem.identity(genotype), genotype)
        found.update(self._kept)
        return {name: one for name, one in found.items() if name not in self._seen}

    def _child(self, parent: Genotype, chance: random.Random) -> Genotype:
        child = list(parent)
        places = list(self._open)
        while places:
            place = places.pop(chance.randrange(len(places)))
            other = chance.randrange(self._problem.choices[place].count - 1)
            child[place] = other + (other >= parent[place])
            if chance.random() >= self._habits.more:
                break
        return tuple(child)

    def _draw(self, chance: random.Random) -> Genotype:
        return tuple(chance.randrange(choice.count) for choice in self._problem.choices)

    def _random(self, chance: random.Random) -> Genotype:
        """A random neck, one that was not proposed if 100 draws find one."""
        genotype: Genotype = ()
        for _ in range(100):
            genotype = self._draw(chance)
            if self._problem.identity(genotype) not in self._seen:
                break
        return genotype

    # -- the models -----------------------------------------------------------------------------

    def _matrices(
        self, known: list[Known], running: list[Genotype], candidates: dict[str, Genotype]
    ) -> tuple[Array, Array]:
        """Choices and features of all, a row each, so scaled that squared distances compare.

        Of choices it is the share that differs, of features 1 on average over what is known.
        """
        genotypes = [*(one.genotype for one in known), *running, *candidates.values()]
        names = [self._problem.identity(genotype) for genotype in genotypes]
        self._rows = {
            name: self._rows.get(name) or self._row(genotype)
            for name, genotype in zip(names, genotypes, strict=True)
        }
        choices = np.array([self._rows[name][0] for name in names])
        features = np.array([self._rows[name][1] for name in names])
        return choices / math.sqrt(2 * len(self._open)), _spread(features, len(known))

    def _row(self, genotype: Genotype) -> tuple[Array, Array]:
        choices = [
            float(genotype[i] == option)
            for i in self._open
            for option in range(self._problem.choices[i].count)
        ]
        # Params, multiply-adds and bytes range over powers of ten.
        features = [
            math.copysign(math.log1p(abs(x)), x) if abs(x) > 1000 else x
            for x in self._problem.describe(genotype).values()
        ]
        return np.array(choices), np.array(features)

    def _choose(self, choices: Array, features: Array, values: list[float]) -> None:
        """Keep the members that best predict each neck from the others, and when to do so again.

        The logarithm of the predictive density, leave one out, in closed form: Rasmussen and
        Williams 2006, equations 5.10 to 5.12, the scale of the variance profiled out.
        """
        target = _standardised(values)
        judged: list[tuple[float, float, Model]] = []
        for mixture in MIXTURES:
            distance = _distance(choices, features, len(values), mixture)
            for length in LENGTHS:
                spectrum, vectors = np.linalg.eigh(_kernel(distance, length))
                turned, squares = vectors.T @ target, vectors * vectors
                for noise in NOISES:
                    inverse = 1.0 / (np.maximum(spectrum, 0.0) + noise)
                    precision = squares @ inverse
                    residual = (vectors @ (inverse * turned)) / precision
                    variance = float(np.mean(residual**2 * precision)) + 1e-12
                    density = -0.5 * len(values) * math.log(variance) + 0.5 * float(
                        np.log(precision).sum()
                    )
                    rank = _spearman(target - residual, target)
                    judged.append((density, rank, Model(mixture, length, noise)))
        judged.sort(key=lambda one: -one[0])
        best = judged[: self._habits.members]
        weights = [math.exp(density - best[0][0]) for density, _, _ in best]
        self._models = [
            (model, weight / sum(weights))
            for (_, _, model), weight in zip(best, weights, strict=True)
        ]
        self._rank = best[0][1]
        self._fit_next = len(self._known) + 1 + len(self._known) // 20

    def _bound(self, choices: Array, features: Array, values: list[float], running: int) -> Array:
        """The upper confidence bound of every candidate."""
        target, learnt = _standardised(values), len(values)
        held = learnt + running
        mean: Array = np.zeros(len(choices) - held)
        square: Array = np.zeros(len(choices) - held)
        distances = {
            mixture: _distance(choices, features, held, mixture)
            for mixture in {model.mixture for model, _ in self._models}
        }
        for model, weight in self._models:
            kernel = _kernel(distances[model.mixture], model.length)
            noisy = kernel[:held] + model.noise * np.eye(held)
            factor = np.linalg.cholesky(noisy)
            half = np.linalg.solve(factor[:learnt, :learnt], target)
            solved = np.linalg.solve(factor, kernel[held:].T)  # [held, candidates]
            here = half @ solved[:learnt]
            scale = float(half @ half) / learnt
            variance = scale * np.maximum(1.0 - (solved**2).sum(axis=0), 1e-9)
            mean += weight * here
            square += weight * (variance + here**2)
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        return np.asarray(mean + self._habits.kappa * spread)


def _spread(rows: Array, learnt: int) -> Array:
    """Columns that vary among the first ``learnt`` rows, over their spread; 1 apart on average."""
    if rows.shape[1] == 0:
        return rows
    mean, deviation = rows[:learnt].mean(axis=0), rows[:learnt].std(axis=0)
    vary = deviation > 1e-9
    scaled = np.clip((rows[:, vary] - mean[vary]) / deviation[vary], -BEYOND, BEYOND)
    return np.asarray(scaled / math.sqrt(2 * max(1, int(vary.sum()))))


def _distance(choices: Array, features: Array, first: int, mixture: tuple[float, float]) -> Array:
    """Squared distances of every row to the ``first`` rows: [rows, first]."""
    total: Array = np.zeros((len(choices), first))
    for share, rows in zip(mixture, (choices, features), strict=True):
        if share:
            norms = (rows**2).sum(axis=1)
            apart = norms[:, None] + norms[None, :first] - 2.0 * rows @ rows[:first].T
            total += share * np.maximum(apart, 0.0)
    return total


def _kernel(distance: Array, length: float) -> Array:
    """How alike necks are, 1 for equal ones: squared exponential."""
    return np.asarray(np.exp(-distance / (2.0 * length**2)))


def _standardised(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    return np.asarray((array - array.mean()) / (array.std() + 1e-12))


def _spearman(one: Array, other: Array) -> float:
    """Rank correlation, equal values in the order they stand in."""
    ranks = [np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
