"""The front of a run with several objectives: the necks that no other beats in all of them."""

from collections.abc import Sequence

from nas_fpn.objectives import objective_scores
from nas_fpn.record import Entry

__all__ = ["best_entry", "front"]


def front(entries: Sequence[Entry], objectives: Sequence[str]) -> tuple[Entry, ...]:
    """The complete trials that none dominates, best in the first objective first.

    One neck dominates another that is nowhere better and somewhere worse (Deb et al. 2002); of
    equal ones the first trial stands. Baselines may be among them. With one objective this is the
    best trial alone.
    """
    names = tuple(objectives)
    scored: list[tuple[tuple[float, ...], Entry]] = []
    for entry in entries:
        outcome = entry.outcome
        if outcome is None or outcome.state != "complete":
            continue
        if any(name.removeprefix("-") not in outcome.scores for name in names):
            continue
        scored.append((tuple(objective_scores(names, outcome.scores).values()), entry))
    scored.sort(key=lambda one: ([-value for value in one[0]], one[1].number))
    kept: list[tuple[tuple[float, ...], Entry]] = []
    for values, entry in scored:  # whatever dominates it stands before it in this order
        if not any(_covers(other, values) for other, _ in kept):
            kept.append((values, entry))
    return tuple(entry for _, entry in kept)


def best_entry(entries: Sequence[Entry], objective: str) -> Entry | None:
    """The complete trial with the best score, the first of equals; a baseline may be it."""
    return next(iter(front(entries, (objective,))), None)


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether ``one`` is at least as good everywhere."""
    return all(a >= b for a, b in zip(one, other, strict=True))
