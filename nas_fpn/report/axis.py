"""Numbers to parts of an axis, with a margin, and round ticks."""

import math
from collections.abc import Sequence

__all__ = ["Axis"]

TICKS = 5


class Axis:
    """From the least to the largest value, and 8 % beyond; ``floor`` is where it may not pass.

    >>> axis = Axis([0, 100], floor=0)
    >>> axis.low, axis.part(54.0), axis.ticks()
    (0, 0.5, [0.0, 50.0, 100.0])
    """

    def __init__(self, values: Sequence[float], *, floor: float | None = None) -> None:
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        self.low, self.high = low - margin, high + margin
        if floor is not None and low >= floor:
            self.low = max(self.low, floor)

    def part(self, value: float) -> float:
        """Where a value stands: 0 at the beginning, 1 at the end."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = TICKS) -> list[float]:
        """Round numbers along the axis, fewer than ``about`` and more than a third of that."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough)
        first = math.ceil(self.low / step)
        return [round(n * step, 12) for n in range(first, math.floor(self.high / step) + 1)]
