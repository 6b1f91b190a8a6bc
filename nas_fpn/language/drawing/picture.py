"""What a drawing shows: boxes at a level and a column, links between them, frames around them.

A neck, two necks and a space become the same kind of picture (``fold.py``, ``union.py``,
``holes.py``); what stands in a picture is text and numbers, so that drawing it knows no language.
"""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Box", "Direction", "Frame", "Kind", "Link", "Mark", "Picture", "Role", "Sheet", "Way"]

Kind = Literal["input", "line", "entry", "exit", "pool", "output"]
Role = Literal["operand", "addend", "wire"]
Direction = Literal["up", "down", "same"]
Way = tuple[Direction, str]  # how a link changes level: the resampler with its arguments, or ""
Mark = Literal["", "dead", "open", "common", "changed", "first", "second"]
"""Why something looks different: it reaches no output; it is left open; which neck has it."""


@dataclass(frozen=True, slots=True)
class Box:
    """Something that stands at a level and a column.

    ``inside`` and ``below`` are rows of text; ``merge`` is its merge with arguments, ``""`` where
    it is none. ``lowest`` is the finest level it may stand at, where its level is open.
    ``stage`` counts what stands one behind the other: inputs, lines, a frame (its entries, lines
    and exits), lines, …, outputs. ``signature`` says what it does, apart from what it reads.
    """

    key: str
    kind: Kind
    name: str
    level: int
    column: int = 0
    merge: str = ""
    inside: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    text: str = ""
    lowest: int | None = None
    mark: Mark = ""
    stage: int = 0
    signature: str = ""

    @property
    def levels(self) -> range:
        """All levels that it takes."""
        return range(self.level if self.lowest is None else self.lowest, self.level + 1)


@dataclass(frozen=True, slots=True)
class Link:
    """From one box to another.

    ``own`` are the operand's blocks in brief, its resampler left out, ``words`` all of them with
    their arguments. ``gates``: the operand has a part of its own, the first of exactly two.
    ``weights`` are what a trained merge multiplies it with, pass by pass of a repeat, and
    ``share`` is its part of the merge, in 0 .. 1. ``signature`` says what happens on the way.
    """

    source: str
    target: str
    role: Role
    position: int = 0
    way: Way = ("same", "")
    own: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    gates: bool = False
    weights: tuple[float, ...] = ()
    share: float | None = None
    mark: Mark = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A repeat, or lines in any order: its columns, and what stands in its corner."""

    key: str
    text: str
    first: int
    last: int
    mark: Mark = ""
    repeats: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """All boxes, links and frames; ``columns`` is how many columns they take."""

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    frames: tuple[Frame, ...]
    columns: int


@dataclass(slots=True)
class Sheet:
    """What has been placed so far; nothing new stands left of column ``start``."""

    boxes: dict[str, Box] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    start: int = 0
    stage: int = 0

    def end(self) -> int:
        """The first column behind all that stands."""
        return max((box.column for box in self.boxes.values()), default=-1) + 1

    def turn(self) -> None:
        """What follows stands behind all that stands now."""
        self.start = self.end()
        self.stage += 1

    def column(self, levels: range, after: int = -1) -> int:
        """The first column behind ``after`` that is free at these levels."""
        taken = {
            box.column
            for box in self.boxes.values()
            if box.level >= levels.start and box.levels.start < levels.stop
        }
        column = max(self.start, after + 1)
        while column in taken:
            column += 1
        return column

    def picture(self) -> Picture:
        """All of it."""
        boxes = tuple(self.boxes.values())
        return Picture(boxes, tuple(self.links), tuple(self.frames), self.end())
