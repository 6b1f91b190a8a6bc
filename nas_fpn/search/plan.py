"""What a search is about: its necks, its baselines, its budget and its limits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nas_fpn.record import Genotype, Report
from nas_fpn.search.controller import Problem
from nas_fpn.search.halving import Halving

__all__ = ["Baseline", "Due", "Evaluate", "NeckFacts", "Plan"]

# What trains one neck: its text and the trial's number give reports, each at more steps.
Evaluate = Callable[[str, int], Iterator[Report]]


@dataclass(frozen=True, slots=True)
class NeckFacts:
    """What the record keeps of a neck: its canonical id, its text, its cost by name."""

    neck: str
    text: str
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A hand-designed neck at the run's width and levels; its genotype if the space holds it."""

    name: str
    facts: NeckFacts
    genotype: Genotype | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a search is about.

    ``trials`` counts the controller's proposals that were trained, to whatever end: repeated and
    rejected ones are free, up to ``free`` of them in a row, which ends a search that has nothing
    new to propose. A proposal whose cost is above one of ``limits`` (by the names of the cost) is
    rejected; baselines are controls and train whatever they cost, to the full number of steps.
    ``accept_drift`` goes on where the record says other than what is computed now.
    """

    problem: Problem
    facts: Callable[[Genotype], NeckFacts]
    trials: int
    baselines: tuple[Baseline, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    halving: Halving | None = None
    free: int = 200
    accept_drift: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """A trial that is due: its number, and the program that a runner trains."""

    number: int
    text: str
