"""Asynchronous successive halving: which trials are not worth their remaining steps.

Li et al. 2020, arXiv:1810.05934, in the form that stops trials instead of pausing them. The rule
looks at the order of the record only, so that every runner and every replay decides alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Halving"]


@dataclass(frozen=True, slots=True)
class Halving:
    """Every report before the full ``steps`` is a rung; the best one in ``eta`` goes on from it."""

    steps: int
    eta: int = 3

    def __post_init__(self) -> None:
        if self.eta < 2:
            raise ValueError(f"eta must be at least 2, but got {self.eta}")

    def stops(self, scores: Sequence[float]) -> bool:
        """Whether the last of ``scores``, all of one rung in the order they came, is cut.

        The first always goes on: there is nothing to compare it with.

        >>> [Halving(300).stops((0.5, 0.4, 0.3, 0.2)[:n]) for n in (1, 2, 3, 4)]
        [False, True, True, True]
        >>> Halving(300).stops((0.5, 0.4, 0.3, 0.45))
        False
        """
        kept = -(-len(scores) // self.eta)
        return sum(score > scores[-1] for score in scores) >= kept
