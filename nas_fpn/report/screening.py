"""From many necks that scored once to a few finalists: the best of many is often only lucky.

A search scores each neck with one seed. Of 64 equal necks the luckiest lies two to three standard
deviations above its mean, so that one which is truly better by two is seldom the first of the list.
So the first ``keep`` of the list are scored again with new seeds, a round at a time, and after each
round the worse half leaves, by the mean over all seeds so far: Sequential Halving (Karnin, Koren
and Somekh 2013, "Almost optimal exploration in multi-armed bandits", ICML). What it costs is known
before it begins. All necks of a round have the same seeds, so that luck which the necks of a seed
share does not tell them apart; the search's own score is one of theirs.

Nothing is concluded here: a screen chooses whom a verdict compares. Its scores may be those of
the proxy on ``val``, and no error rate depends on them.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_fpn.errors import RunError
from nas_fpn.report.sequential import Next

__all__ = ["Screening", "ScreeningPlan", "screen", "screening_cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningPlan:
    """The best ``keep`` necks are scored anew, ``seeds`` times a round, down to ``finalists``.

    Where ``keep`` is no more than ``finalists``, the best are taken as they are, for nothing.
    """

    keep: int = 24
    finalists: int = 2
    seeds: int = 1

    def __post_init__(self) -> None:
        for name in ("keep", "finalists", "seeds"):
            if getattr(self, name) < 1:
                raise RunError(f"{name} must be at least 1, but got {name}={getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Screening:
    """Who is still in, best first, and the trainings that are due to go on.

    Where ``due`` is empty the screen is over, and ``left`` are the finalists.
    """

    left: tuple[str, ...]
    due: tuple[Next, ...]


def screen(scores: Mapping[str, Sequence[float]], plan: ScreeningPlan) -> Screening:
    """Who is left of these necks after the rounds whose scores are there.

    ``scores`` by neck: entry 0 is the search's own, entry i is of the i-th new seed, the same for
    all. Of equal means the neck that stands first is better.

    >>> plan = ScreeningPlan(keep=2, finalists=1, seeds=1)
    >>> screen({"a": [0.3], "b": [0.2], "c": [0.1]}, plan).due
    (Next(neck='a', place=1), Next(neck='b', place=1))
    >>> screen({"a": [0.3, 0.1], "b": [0.2, 0.3], "c": [0.1]}, plan)
    Screening(left=('b',), due=())
    """
    left, seen = _best(scores, tuple(scores), seeds=1)[: plan.keep], 1
    while len(left) > plan.finalists:
        seen += plan.seeds
        due = [
            Next(neck, place)
            for place in range(1, seen)
            for neck in left
            if place >= len(scores[neck])
        ]
        if due:
            return Screening(left, tuple(due))
        left = _best(scores, left, seeds=seen)[: max(plan.finalists, len(left) // 2)]
    return Screening(left, ())


def screening_cost(plan: ScreeningPlan, necks: int) -> int:
    """How many trainings a screen of so many necks takes in all.

    >>> screening_cost(ScreeningPlan(keep=16, finalists=2, seeds=2), 100)
    56
    """
    left, cost = min(plan.keep, necks), 0
    while left > plan.finalists:
        cost += left * plan.seeds
        left = max(plan.finalists, left // 2)
    return cost


def _best(
    scores: Mapping[str, Sequence[float]], necks: tuple[str, ...], *, seeds: int
) -> tuple[str, ...]:
    """These necks by the mean of their first scores, best first."""
    return tuple(sorted(necks, key=lambda neck: -statistics.fmean(scores[neck][:seeds])))
