"""Regularised evolution: a population that ages, parents by tournament, one choice mutated.

Real, Aggarwal, Huang and Le 2019, arXiv:1802.01548, algorithm 1: at first random necks, then for
ever the best of a random sample of the population is the parent of the next; each result joins
the population and the oldest member leaves it, however good it is.

Where we differ. A neck that was proposed before (by its canonical id, so that neutral mutations
count as the parent) is not proposed again while a redraw finds another. Asks run ahead of tells:
the population are the last trials told, not asked. Of several objectives, the parent is one that
no other of the sample dominates, in place of the best. For the sizes see :func:`controller`.
"""

import random
from collections import deque

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Problem, generator

Scored = tuple[Genotype, tuple[float, ...]]


def controller(
    problem: Problem,
    *,
    seed: int,
    population: int = 20,
    sample: int = 10,
    more: float = 0.1,
    redraws: int = 100,
) -> "Evolution":
    """Ageing evolution.

    ``population`` trials live at a time and as many asks are random at first; a parent is the
    best of ``sample`` of them. The paper's are 100, 25 and ``more = 0``, for 20,000 trials; on
    the planted tables they do not leave chance within 100 trials, where ours need about 40 for
    what chance finds in 100. A child differs from its parent in one choice, and with the chance
    ``more`` in one further, again and again. ``redraws`` is how often a child that was proposed
    before is thrown away for another, of another tournament; after that a random neck is
    proposed.
    """
    if population < 1:
        raise ValueError(f"population must be at least 1, but got {population}")
    if not 1 <= sample <= population:
        raise ValueError(
            f"sample must be in 1 .. population = {population}, but is {sample}; set both"
        )
    if not 0 <= more < 1:
        raise ValueError(f"more must be a chance in 0 .. 1 (without 1), but got {more}")
    if redraws < 0:
        raise ValueError(f"redraws must be at least 0, but got {redraws}")
    return Evolution(problem, seed, population=population, sample=sample, more=more, tries=redraws)


class Evolution:
    """The living and the necks that were proposed.

    A score counts when it was measured at the full budget: complete, or repeated, which is the
    score of an equal neck. An equal neck joins the population once. What was stopped, failed or
    rejected never joins: neither is a parent, nor is it proposed again.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int,
        *,
        population: int,
        sample: int,
        more: float,
        tries: int,
    ) -> None:
        self._problem = problem
        self._seed = seed
        self._initial = population
        self._sample = sample
        self._more = more
        self._tries = tries
        self._open = [i for i, choice in enumerate(problem.choices) if choice.count > 1]
        self._living: deque[Scored] = deque(maxlen=population)
        self._seen: set[str] = set()  # asked or told, by canonical id
        self._scored: set[str] = set()
        self._asked = 0

    def ask(self) -> Trial:
        """The prior, then ``population`` random necks, then children of the living."""
        number = self._asked
        chance = generator(self._seed, number)
        if number < len(self._problem.prior):
            genotype = self._problem.prior[number]
        else:
            genotype = self._fresh(chance)
        self._seen.add(self._problem.identity(genotype))
        self._asked += 1
        return Trial(number, genotype)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """What was trained joins the population, also when it is not what was asked for."""
        identity = self._problem.identity(trial.genotype)
        self._seen.add(identity)
        if outcome.state not in {"complete", "repeated"} or identity in self._scored:
            return
        self._scored.add(identity)
        scores = tuple(outcome.scores[name] for name in self._problem.objectives)
        self._living.append((trial.genotype, scores))

    def _fresh(self, chance: random.Random) -> Genotype:
        """A neck that was not proposed before, if a redraw finds one."""
        if self._living and self._asked >= self._initial:
            for _ in range(self._tries + 1):
                child = self._mutated(self._parent(chance), chance)
                if self._problem.identity(child) not in self._seen:
                    return child
        genotype: Genotype = ()
        for _ in range(self._tries + 1):
            genotype = tuple(chance.randrange(choice.count) for choice in self._problem.choices)
            if self._problem.identity(genotype) not in self._seen:
                break
        return genotype

    def _parent(self, chance: random.Random) -> Genotype:
        """The best of a random sample; of several objectives, one that no other dominates."""
        rivals = chance.sample(self._living, min(self._sample, len(self._living)))
        best = rivals[0]
        for rival in rivals[1:]:
            if all(ours <= theirs for ours, theirs in zip(best[1], rival[1], strict=True)):
                best = rival
        return best[0]

    def _mutated(self, parent: Genotype, chance: random.Random) -> Genotype:
        """One choice or more answered otherwise; the parent itself where nothing is open."""
        child = list(parent)
        places = list(self._open)
        while places:
            place = places.pop(chance.randrange(len(places)))
            other = chance.randrange(self._problem.choices[place].count - 1)
            child[place] = other + (other >= parent[place])
            if chance.random() >= self._more:
                break
        return tuple(child)
