"""The objectives of a search among the scores of a trial."""

from nas_fpn.record import Scores

__all__ = ["objective_scores"]


def objective_scores(objectives: tuple[str, ...], scores: Scores) -> dict[str, float]:
    """The objectives among ``scores``, turned so that larger is better in each.

    Raises KeyError with the first objective that is missing.

    >>> objective_scores(("ap", "-latency_ms"), {"ap": 0.3, "ap50": 0.5, "latency_ms": 12.0})
    {'ap': 0.3, '-latency_ms': -12.0}
    """
    return {
        name: -scores[name[1:]] if name.startswith("-") else scores[name] for name in objectives
    }
