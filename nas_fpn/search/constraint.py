"""Several objectives as one score, for controllers that learn from one: MnasNet's soft constraint.

Tan et al. 2019, arXiv:1807.11626, equation 2, with their soft setting (one exponent on both
sides of the target; theirs is -0.07, chosen so that 5 % of accuracy pays for twice the latency).
"""

from dataclasses import dataclass

from nas_fpn.record import Scores

__all__ = ["CONSTRAINED", "SoftConstraint"]

CONSTRAINED = "constrained"  # the name of the score that it gives


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftConstraint:
    """``score * (cost / target) ** weight``: a neck twice as dear has to be better by so much.

    ``score`` and ``cost`` are names among the scores of a report ("ap", "latency_ms"); ``target``
    is in the cost's unit, ``weight`` at most 0.
    """

    score: str
    cost: str
    target: float
    weight: float = -0.07

    def __call__(self, scores: Scores) -> float:
        """One score for several; larger is better.

        >>> soft = SoftConstraint(score="ap", cost="latency_ms", target=10.0)
        >>> round(soft({"ap": 0.4, "latency_ms": 20.0}) / 0.4, 3)
        0.953
        """
        return float(scores[self.score] * (scores[self.cost] / self.target) ** self.weight)
