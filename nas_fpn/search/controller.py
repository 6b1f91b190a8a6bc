"""What a controller is and what it may know: choices and scores, never programs, torch or Ray."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from nas_fpn.language import Choice
from nas_fpn.objectives import objective_scores
from nas_fpn.record import Genotype, Outcome, Trial

__all__ = ["Controller", "Problem", "generator", "told"]


@dataclass(frozen=True, slots=True)
class Problem:
    """All that a controller may know of a run.

    Options of a choice are 0 … ``count`` - 1, whatever the other answers are, so that every
    combination is a genotype; no two choices share a name. ``identity`` gives the canonical id of
    a genotype's neck: equal ids, equal necks. ``describe`` gives features of its graph as
    numbers, by name, the same names for all. ``objectives`` are the keys of told scores.
    ``prior`` are genotypes that somebody trusts: every controller asks for them first, in order,
    and learns from what they are told like from its own.
    """

    choices: tuple[Choice, ...]
    identity: Callable[[Genotype], str]
    describe: Callable[[Genotype], Mapping[str, float]]
    objectives: tuple[str, ...] = ("ap",)
    prior: tuple[Genotype, ...] = ()


class Controller(Protocol):
    """Proposes genotypes and learns from scores.

    Asks may run ahead of tells by the number of workers and more; tells come in any order. Two
    controllers of one seed that saw the same asks and tells propose the same next: ask number n
    draws from :func:`generator` ``(seed, n)`` and from nothing else. That is how a search resumes.

    Scores at different budgets are never mixed: ``complete`` and ``repeated``, at the full steps,
    are one population; a ``stopped`` score compares with scores at equal steps (a rank within its
    rung) or is not used as a value at all.

    A trial is told once, with how it ended. One that a search has paused has not ended: it is an
    ask in flight, and is told ``complete`` if it is promoted to the end, ``stopped`` as soon as
    nothing that can still come would promote it. Telling it ``stopped`` at every pause would need
    a second tell of the same trial, and is worth little to a controller that mixes no budgets.
    """

    def ask(self) -> Trial:
        """The next proposal. Numbers are the controller's own: 0, 1, 2, …, in order."""
        ...

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """How a trial ended; scores are the objectives, and larger is better in each.

        A resumed search may tell a trial with another genotype than was asked, when a person
        accepted that the controller has changed: what is told is what was trained.
        """
        ...


def generator(seed: int, n: int) -> random.Random:
    """The source of chance of ask number ``n``: independent of every other ask's.

    >>> generator(0, 7).random() == generator(0, 7).random() != generator(0, 8).random()
    True
    """
    return random.Random(f"{seed}/{n}")


def told(objectives: tuple[str, ...], outcome: Outcome) -> Outcome:
    """``outcome`` as a controller gets it: steps and state as they are, scores the objectives."""
    if not outcome.scores:
        return outcome
    return replace(outcome, scores=objective_scores(objectives, outcome.scores))
