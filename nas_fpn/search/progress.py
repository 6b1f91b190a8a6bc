"""What a search says of itself while it runs: values, in the order of the record."""

from dataclasses import dataclass

from nas_fpn.record import Entry, Report

__all__ = ["Asked", "Noted", "Over", "Paused", "Progress", "Promoted", "Reported", "Told"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial has been put on record."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Reported:
    """A trial has been measured on its way."""

    entry: Entry
    report: Report


@dataclass(frozen=True, slots=True)
class Paused:
    """A trial waits at a rung, after ``entry.pauses[-1]`` steps."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Promoted:
    """A paused trial goes on."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Told:
    """A trial has ended; ``entry.outcome`` says how."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Over:
    """The search has ended: its trials are trained, or nothing new and allowed came for long.

    Or its time is over: ``late``.
    """

    trained: int
    exhausted: bool
    late: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """A person should know this of how the search runs; the record does not hold it."""

    text: str


Progress = Asked | Reported | Paused | Promoted | Told | Over | Noted
