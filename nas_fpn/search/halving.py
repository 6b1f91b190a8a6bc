"""Asynchronous successive halving: which trials are worth their remaining steps.

Li et al. 2020, arXiv:1810.05934, in two forms: one that stops the trials that are not, and the
paper's own (Algorithm 2), which pauses every trial at every rung and promotes the best of them.
Both look at the order of the record only, so that every runner and every replay decides alike.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

__all__ = ["Halving", "Rungs", "rung_steps"]

Key = tuple[float, int, int]


@dataclass(frozen=True, slots=True)
class Halving:
    """At each of ``rungs``, in steps below the full training, the best one in ``eta`` goes on.

    Without ``promotes`` a trial that is not among them when it is measured ends there. With it
    every trial pauses at a rung, and goes on once it is among the best of those that came there,
    before or after it.
    """

    rungs: tuple[int, ...]
    eta: int = 3
    promotes: bool = False

    def __post_init__(self) -> None:
        if self.eta < 2:
            raise ValueError(f"eta must be at least 2, but got {self.eta}")
        if not self.rungs or list(self.rungs) != sorted({*self.rungs} - {0}):
            raise ValueError(f"rungs must be steps that rise from 1, but got {self.rungs}")


def rung_steps(steps: int, *, eta: int, count: int) -> tuple[int, ...]:
    """``count`` rungs below ``steps``, each ``eta`` times the one before, to whole steps.

    Raises ValueError where there is no room for so many.

    >>> rung_steps(300, eta=3, count=2)
    (33, 100)
    """
    rungs = tuple(round(steps / eta**power) for power in range(count, 0, -1))
    if list(rungs) != sorted({*rungs, steps} - {0, steps}):
        raise ValueError(f"{steps} steps have no room for {count} rungs that part them by {eta}")
    return rungs


@dataclass(slots=True)
class _Rung:
    """Keys of trials, best first: minus the score, the order they came in, the number."""

    ranked: list[Key] = field(default_factory=list)
    paused: list[Key] = field(default_factory=list)
    keys: dict[int, Key] = field(default_factory=dict)  # by number, in the order they came in
    promoted: int = 0

    def remove(self, number: int) -> bool:
        """Whether the trial was paused here; it is no longer."""
        key = self.keys.get(number)
        at = len(self.paused) if key is None else bisect_left(self.paused, key)
        was = at < len(self.paused) and self.paused[at] == key
        if was:
            del self.paused[at]
        return was

    def hopeless(self, size: int) -> list[Key]:
        """Who is paused and not among the best ``size``."""
        if len(self.ranked) <= size:
            return []
        return self.paused[bisect_left(self.paused, self.ranked[size]) :]


class Rungs:
    """Who came to which rung with which score, who was promoted from it, and who is waiting.

    Trials are told apart by number. Of equal scores the one that came first is the better.
    """

    def __init__(self, halving: Halving) -> None:
        self._halving = halving
        self._rungs = [_Rung() for _ in halving.rungs]

    def enter(self, number: int, steps: int, score: float) -> None:
        """A trial was measured at a rung; what lies at other steps does not matter."""
        if steps in self._halving.rungs:
            rung = self._rungs[self._halving.rungs.index(steps)]
            rung.keys[number] = key = (-score, len(rung.ranked), number)
            insort(rung.ranked, key)
            if self._halving.promotes:
                insort(rung.paused, key)

    def stops(self, number: int, steps: int) -> bool:
        """Whether a trial ends at a rung: it was not among the best that had come there till then.

        The first always goes on: there is nothing to compare it with.
        """
        if self._halving.promotes or steps not in self._halving.rungs:
            return False
        rung = self._rungs[self._halving.rungs.index(steps)]
        worse, came, _ = rung.keys[number]
        kept = -(-(came + 1) // self._halving.eta)
        return sum(other < worse and at < came for other, at, _ in rung.ranked) >= kept

    def promotable(self) -> int | None:
        """The trial that goes on next: the best of the highest rung that has one to promote.

        ``get_job`` of Algorithm 2: a candidate is among the best ``size // eta`` of its rung, as
        many as have come to it so far, and was not promoted from it before.
        """
        for rung in reversed(self._rungs):
            candidates = len(rung.ranked) // self._halving.eta
            if rung.paused and candidates and rung.paused[0] <= rung.ranked[candidates - 1]:
                return rung.paused[0][2]
        return None

    def leader(self) -> int | None:
        """The best of those that are paused at the highest rung where somebody is."""
        return next((rung.paused[0][2] for rung in reversed(self._rungs) if rung.paused), None)

    def promote(self, number: int) -> None:
        """A paused trial goes on."""
        for rung in self._rungs:
            rung.promoted += rung.remove(number)

    def leave(self, number: int) -> None:
        """A trial has ended. Its scores stay: others are compared with them."""
        for rung in self._rungs:
            rung.remove(number)

    def hopeless(self, trials: int) -> int | None:
        """A paused trial that no later score can bring up, if ``trials`` start in all.

        A rank only falls as others come, and at most so many can still come: to the first rung
        the trials that have not, to a later one those not hopeless below it. The best of a rung
        is never hopeless: see :meth:`leader`.
        """
        most = trials
        for rung in self._rungs:
            most = max(most, len(rung.ranked))
            out = rung.hopeless(max(1, most // self._halving.eta))
            if out:
                return out[0][2]
            most = rung.promoted + len(rung.paused) + most - len(rung.ranked)
        return None
