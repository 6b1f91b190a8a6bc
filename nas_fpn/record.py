"""The facts of a run: trials, reports, outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Outcome", "Report", "State", "Trial"]

Scores = Mapping[str, float]
State = Literal["complete", "stopped", "failed", "rejected", "repeated"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One proposal: its number in the run and an index per choice of the space."""

    number: int
    genotype: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Scores measured after ``steps`` training steps; ``seconds`` since the trial began."""

    steps: int
    scores: Scores
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Only ``complete`` at the full budget compares with ``complete``; ``stopped`` compares at
    equal ``steps``; ``failed`` and ``rejected`` carry no scores and say the ``reason``;
    ``repeated`` carries the scores of the trial ``of`` whose canonical neck was the same.
    """

    state: State
    scores: Scores = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    reason: str | None = None
    of: int | None = None
