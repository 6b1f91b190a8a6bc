"""What a search is about: its necks, its baselines, its budget and its limits."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nas_fpn.record import Genotype, Report
from nas_fpn.search.controller import Problem
from nas_fpn.search.halving import Halving

__all__ = ["FREE", "Baseline", "BeyondLimits", "Clock", "Due", "Evaluate", "NeckFacts", "Plan"]

FREE = 200  # proposals in a row without training, after which a search has nothing new


@dataclass(frozen=True, slots=True)
class Due:
    """A trial that is due: its number, and the program that a runner trains.

    A trial that was paused goes on after ``begin`` steps; 0 is the start. After ``pause`` steps
    it will be paused (again); None: it is trained to its end, unless it is stopped. ``neck`` is
    the canonical id, for whoever watches the workers. Limits are for those that are ``bounded``.
    """

    number: int
    text: str
    begin: int = 0
    pause: int | None = None
    neck: str = ""
    bounded: bool = True


class BeyondLimits(Exception):  # noqa: N818  (no error: how a proposal is rejected)
    """Raised by what trains a neck that takes more than is allowed, before it trains."""


class Clock(Protocol):
    """The time of a search whose time is bounded. Seconds are of the whole run, pauses left out."""

    def spent(self) -> float:
        """Seconds that the run has taken by now, those of earlier sessions among them."""

    def has_room(self, begin: int, pause: int | None) -> bool:
        """Whether a training from ``begin`` to ``pause`` (None: its end) would end in time."""

    def left(self) -> float:
        """Seconds until what is in training is cut; 0 or less: now."""


# What trains one neck: a trial that is due gives reports, each at more steps, one at each rung.
# What it takes to go on after ``pause`` lies on disk before the report at ``pause`` is given. What
# cannot go on after ``begin`` may start anew: a report that is on record must only be equal.
Evaluate = Callable[[Due], Iterator[Report]]


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
    new to propose. One that is paused counts once, however often it goes on. A proposal whose
    cost is above one of ``limits`` (by the names of the cost) is rejected; baselines are controls
    and train whatever they cost, to the full number of steps, without a pause. ``prior``
    are the names that the problem's prior came by, in its order. ``accept_drift``
    goes on where the record says other than what is computed now. Where ``repeats``, a training
    that is made again gives the reports on record; else, as on a GPU, those stay.

    With a ``clock`` nothing is started that would not end in time, and what runs over is cut;
    ``open_ended`` then leaves the number of trials to it, and ``trials`` is what is expected.
    """

    problem: Problem
    facts: Callable[[Genotype], NeckFacts]
    trials: int
    baselines: tuple[Baseline, ...] = ()
    prior: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    halving: Halving | None = None
    free: int = FREE
    accept_drift: bool = False
    repeats: bool = True
    clock: Clock | None = None
    open_ended: bool = False

    @property
    def most(self) -> int:
        """How many of the controller's proposals are trained at most."""
        return sys.maxsize if self.open_ended else self.trials
