"""What a score is worth to a policy: how far it stands above those before it.

The moving-average baseline of REINFORCE (Williams 1992), scaled by the moving deviation, so that a
learning rate does not depend on the data. For controllers that learn by policy gradients.
"""

import math

__all__ = ["FAR", "MovingBaseline"]

FAR = 3.0  # standard deviations: an advantage is at most so large


class MovingBaseline:
    """Moving averages of scores and of their squares, each weighed so that it is unbiased.

    Raises ValueError for a ``decay``, which controllers call ``baseline_decay``, outside [0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:  # with 1 no score would weigh anything
            raise ValueError(f"baseline_decay must be in [0, 1), but got {decay:g}")
        self._decay = decay
        self._weight = 0.0
        self._mean = 0.0
        self._square = 0.0

    def advantage(self, score: float) -> float:
        """How far ``score`` is above those before it, in standard deviations; then it joins them.

        The first is as expected, 0. σ² counts this score too: without it the second has none.
        """
        if not self._weight:
            self._join(score)
            return 0.0
        above = score - self._mean
        self._join(score)
        deviation = math.sqrt(max(self._square, 0.0))
        return max(-FAR, min(FAR, above / deviation)) if deviation else 0.0

    def _join(self, score: float) -> None:
        """The running mean and variance of weighted observations (West 1979)."""
        self._weight = self._decay * self._weight + 1.0 - self._decay
        share = (1.0 - self._decay) / self._weight
        above = score - self._mean
        self._mean += share * above
        self._square = (1.0 - share) * (self._square + share * above * above)
