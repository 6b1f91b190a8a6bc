"""The best score so far, and what the same scores would have given in another order."""

import math
from collections.abc import Sequence
from itertools import accumulate

from nas_fpn.record import Entry, History

__all__ = ["best_so_far", "in_order", "shuffled"]


def in_order(history: History, objective: str) -> tuple[tuple[float, Entry], ...]:
    """The proposals that were trained to the full budget, as they finished, with their scores."""
    entries = {entry.number: entry for entry in history.entries}
    ended = [entries[event["trial"]] for event in history.events if event["event"] == "tell"]
    return tuple(
        (entry.outcome.scores[objective], entry)
        for entry in ended
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and not entry.is_baseline
        and objective in entry.outcome.scores
    )


def best_so_far(values: Sequence[float]) -> list[float]:
    """The largest of the first k values, for k from 1.

    >>> best_so_far([0.2, 0.1, 0.3])
    [0.2, 0.2, 0.3]
    """
    return list(accumulate(values, max))


def shuffled(values: Sequence[float], counts: Sequence[int]) -> list[float]:
    """The expected largest of k values drawn without replacement, for each k of ``counts``.

    The mean of :func:`best_so_far` over all orders of the values, exactly: of n sorted values the
    i-th from above is the largest of k with probability C(n - i, k - 1) / C(n, k).

    >>> [round(value, 4) for value in shuffled([1.0, 2.0, 3.0], [1, 2, 3])]
    [2.0, 2.6667, 3.0]
    """
    ordered = sorted(values, reverse=True)
    means = []
    for k in counts:
        chance, left = k / len(ordered), len(ordered)
        parts = []
        for i, value in enumerate(ordered[: left - k + 1], start=1):
            parts.append(chance * value)
            if i < left:
                chance *= (left - i - k + 1) / (left - i)
        means.append(math.fsum(parts))
    return means
