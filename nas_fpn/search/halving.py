"""Asynchronous successive halving: which trials are worth their remaining steps.

Li et al. 2020, arXiv:1810.05934, in two forms: one that stops the trials that are not, and the
paper's own (Algorithm 2), which pauses every trial at every rung and promotes the best of them.
Both look at the order of the record only, so that every runner and every replay decides alike.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Halving", "Rungs", "rung_steps"]


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


class Rungs:
    """Who came to which rung with which score, who was promoted from it, and who is waiting.

    Trials are told apart by number. Of equal scores the one that came first is the better.
    """

    def __init__(self, halving: Halving) -> None:
        self._halving = halving
        self._ranked: list[list[tuple[float, int, int]]] = [[] for _ in halving.rungs]
        self._paused: list[set[int]] = [set() for _ in halving.rungs]
        self._promoted: list[set[int]] = [set() for _ in halving.rungs]
        self._scores: list[dict[int, float]] = [{} for _ in halving.rungs]

    def enter(self, number: int, steps: int, score: float) -> None:
        """A trial was measured at a rung; what lies at other steps does not matter."""
        if steps in self._halving.rungs:
            rung = self._halving.rungs.index(steps)
            scores, ranked = self._scores[rung], self._ranked[rung]
            scores[number] = score
            insort(ranked, (-score, len(ranked), number))
            if self._halving.promotes:
                self._paused[rung].add(number)

    def stops(self, number: int, steps: int) -> bool:
        """Whether a trial ends at a rung: it was not among the best that had come there till then.

        The first always goes on: there is nothing to compare it with.
        """
        if self._halving.promotes or steps not in self._halving.rungs:
            return False
        order = list(self._scores[self._halving.rungs.index(steps)].items())
        before = order[: [n for n, _ in order].index(number) + 1]
        kept = -(-len(before) // self._halving.eta)
        return sum(score > before[-1][1] for _, score in before) >= kept

    def promotable(self) -> int | None:
        """The trial that goes on next: the best of the highest rung that has one to promote.

        ``get_job`` of Algorithm 2: a candidate is among the best ``size // eta`` of its rung, as
        many as have come to it so far, and was not promoted from it before.
        """
        for rung in reversed(range(len(self._ranked))):
            ranked, paused = self._ranked[rung], self._paused[rung]
            if paused:
                for _, _, number in ranked[: len(ranked) // self._halving.eta]:
                    if number in paused:
                        return number
        return None

    def promote(self, number: int) -> None:
        """A paused trial goes on."""
        for paused, promoted in zip(self._paused, self._promoted, strict=True):
            if number in paused:
                paused.remove(number)
                promoted.add(number)

    def leave(self, number: int) -> None:
        """A trial has ended. Its scores stay: others are compared with them."""
        for paused in self._paused:
            paused.discard(number)

    def hopeless(self, trials: int) -> Iterator[int]:
        """Paused trials that no later score can bring among the best, if ``trials`` start in all.

        A rank only falls as others come, and at most so many can still come: to the first rung
        the trials that have not, to a later one those not hopeless below it.
        """
        most = trials
        for ranked, paused, promoted in zip(
            self._ranked, self._paused, self._promoted, strict=True
        ):
            most = max(most, len(ranked))
            out = []
            if paused:
                beyond = ranked[most // self._halving.eta :]
                out = [number for _, _, number in beyond if number in paused]
            yield from out
            most = len(promoted) + len(paused) - len(out) + most - len(ranked)
