"""REINFORCE on a factorised policy: one softmax for each choice, independent of the others.

The score-function gradient (Williams 1992) as Zoph and Le 2017 (arXiv:1611.01578, section 3.2)
use it for search: the score of a trained neck less a moving average of the scores before it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.advantage import MovingBaseline
from nas_fpn.search.controller import Problem, generator

Table = NDArray[np.float64]  # [choices, options]; options that a choice lacks are padding

NEVER = -1e9  # the logit of padding
HALVINGS = 30  # of the interval in which the temperature of a floor is sought
TINY = 1e-300  # for logarithms and quotients of what cannot be drawn


def controller(
    problem: Problem,
    *,
    seed: int,
    learning_rate: float = 1.0,
    baseline_decay: float = 0.95,
    entropy_weight: float = 0.05,
    entropy_floor: float = 0.2,
    most_ratio: float = 1.0,
    penalty: float = 1.0,
    redraws: int = 100,
) -> "Reinforce":
    """A policy π(a) = Π_i π_i(a_i), π_i = softmax(θ_i); uniform at first.

    What is told of a trial with the genotype a moves every θ_i at once, by plain gradient ascent::

        θ_i ← θ_i + learning_rate · (ρ_i A (e_{a_i} − π_i) + entropy_weight ∇H(π_i))
        A   = (score − b) / σ, at most 3 either way

    b and σ² are the moving mean and variance of the scores so far, decaying by
    ``baseline_decay``, without the bias of their start. A score that comes late was drawn from an
    older policy μ: ρ_i = min(π_i(a_i) / μ_i(a_i), ``most_ratio``), of each choice alone. The exact
    weight is the product over all choices, whose variance grows with their number; the
    truncation is that of IMPALA (Espeholt et al. 2018, arXiv:1802.01561). With one worker ρ = 1.

    H(π_i) never falls below ``entropy_floor`` · log(options), besides the bonus of
    ``entropy_weight``: a θ_i that would is scaled down until it holds the floor.

    A failed or rejected trial has no score: for it A = −``penalty``, in standard deviations, and b
    and σ do not hear of it. A stopped trial teaches nothing. A draw whose neck was proposed before
    is drawn again, up to ``redraws`` times, from flatter and flatter policies, the last of them
    uniform; if none is new, the last is proposed and answered from the record. ρ is that of the
    genotype taken, under the policy itself. Priors are learnt from as if the policy had drawn them.

    Where we differ from Zoph and Le: no recurrent network (see ppo.py); scaled advantages, so
    that the learning rate does not depend on the data; a step for every score, not for a batch.
    The decay is theirs (Zoph et al. 2018, arXiv:1707.07012); they have no floor, for thousands of
    trials. The defaults were tuned for hundreds, on planted tables (tests/controllers/planted.py).

    Raises ValueError for a setting out of its range, and for several objectives: they have to be
    made one score, as MnasNet does.
    """
    if len(problem.objectives) > 1:
        raise ValueError(
            f"REINFORCE learns from one score, but the run has {', '.join(problem.objectives)}; "
            "make one of them with [soft_constraint] target = …, or take surrogate"
        )
    _check("learning_rate", learning_rate, 0.0, math.inf)
    _check("entropy_weight", entropy_weight, 0.0, math.inf)
    _check("entropy_floor", entropy_floor, 0.0, 1.0)
    _check("most_ratio", most_ratio, 0.0, math.inf)
    _check("penalty", penalty, 0.0, math.inf)
    _check("redraws", redraws, 0, math.inf)
    settings = Settings(learning_rate, entropy_weight, entropy_floor, most_ratio, penalty)
    return Reinforce(problem, seed, settings, MovingBaseline(baseline_decay), redraws)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a step of the policy needs; see :func:`controller`."""

    learning_rate: float
    entropy_weight: float
    entropy_floor: float
    most_ratio: float
    penalty: float


class Reinforce:
    """The logits, the baseline, and the policies from which the asks in flight were drawn."""

    def __init__(
        self,
        problem: Problem,
        seed: int,
        settings: Settings,
        baseline: MovingBaseline,
        redraws: int,
    ) -> None:
        self._problem = problem
        self._seed = seed
        self._settings = settings
        self._baseline = baseline
        self._redraws = redraws
        self._logits = uniform_logits([choice.count for choice in problem.choices])
        self._policy = softmax(self._logits)
        self._asked = 0
        self._seen: set[str] = set()
        self._open: dict[int, Table] = {}  # by number, the policy at the time of the ask

    def ask(self) -> Trial:
        """A prior while there are any; then a draw from the policy."""
        prior = self._problem.prior
        genotype = prior[self._asked] if self._asked < len(prior) else self._draw()
        self._seen.add(self._problem.identity(genotype))
        self._open[self._asked] = self._policy
        trial = Trial(self._asked, genotype)
        self._asked += 1
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """One step of gradient ascent; stopped trials are passed over."""
        drawn_from = self._open.pop(trial.number)
        if outcome.state == "stopped":
            return
        if outcome.state in {"failed", "rejected"}:
            advantage = -self._settings.penalty
        else:
            advantage = self._baseline.advantage(outcome.scores[self._problem.objectives[0]])
        gradient = ascent(self._policy, drawn_from, trial.genotype, advantage, self._settings)
        logits = self._logits + self._settings.learning_rate * gradient
        self._logits = with_floor(logits, self._settings.entropy_floor)
        self._policy = softmax(self._logits)

    def _draw(self) -> Genotype:
        chance = generator(self._seed, self._asked)
        genotype: Genotype = ()
        for redraw in range(self._redraws + 1):
            sharpness = 1.0 - redraw / max(self._redraws, 1)
            policy = softmax(np.where(self._logits > NEVER / 2, sharpness * self._logits, NEVER))
            upto = policy.cumsum(axis=1)
            points = np.array([chance.random() for _ in upto])
            genotype = tuple((upto <= points[:, None] * upto[:, -1:]).sum(axis=1).tolist())
            if self._problem.identity(genotype) not in self._seen:
                break
        return genotype


def ascent(
    policy: Table, drawn_from: Table, genotype: Genotype, advantage: float, settings: Settings
) -> Table:
    """The direction in which a score moves the logits, without the learning rate."""
    taken = np.array(genotype)[:, None]
    now = np.take_along_axis(policy, taken, axis=1)
    then = np.take_along_axis(drawn_from, taken, axis=1)
    ratio = np.minimum(now / np.maximum(then, TINY), settings.most_ratio)
    score_function = -policy
    np.put_along_axis(score_function, taken, 1.0 - now, axis=1)
    return ratio * advantage * score_function + settings.entropy_weight * entropy_ascent(policy)


def softmax(logits: Table) -> Table:
    """Probabilities; padding has none."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def entropy(policy: Table) -> NDArray[np.float64]:
    """In nats, one for each choice."""
    return np.asarray(-(policy * np.log(np.maximum(policy, TINY))).sum(axis=1), dtype=np.float64)


def entropy_ascent(policy: Table) -> Table:
    """The gradient of the entropies with respect to the logits."""
    surprise = np.log(np.maximum(policy, TINY))
    return np.asarray(-policy * (surprise + entropy(policy)[:, None]), dtype=np.float64)


def uniform_logits(counts: list[int]) -> Table:
    """Zero for every option."""
    options = np.arange(max(counts, default=1))
    return np.where(options < np.array(counts, dtype=int)[:, None], 0.0, NEVER)


def with_floor(logits: Table, floor: float) -> Table:
    """``logits``, those of a choice scaled down where its entropy is below floor · log(options).

    The scale is sought by halving and taken on the uniform side, so that the floor holds.
    """
    real = logits > NEVER / 2
    least = floor * np.log(real.sum(axis=1))
    low = np.flatnonzero(entropy(softmax(logits)) < least)
    if not low.size:
        return logits
    rows = np.where(real, logits - logits.max(axis=1, keepdims=True), 0.0)[low]
    scale, beyond = np.zeros(low.size), np.ones(low.size)
    for _ in range(HALVINGS):
        middle = (scale + beyond) / 2
        scaled = np.where(real[low], rows * middle[:, None], NEVER)
        holds = entropy(softmax(scaled)) >= least[low]
        scale, beyond = np.where(holds, middle, scale), np.where(holds, beyond, middle)
    floored = logits.copy()
    floored[low] = np.where(real[low], rows * scale[:, None], NEVER)
    return floored


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be in [{least:g}, {most:g}], but got {value:g}")
