"""A program with holes as data: what a text says once ranges are written out.

Holes carry no names yet; ``space.py`` gives them. Places in the text are kept for errors.
"""

from dataclasses import dataclass

from nas_fpn.language.layout import Source, Span
from nas_fpn.language.own_words import Words
from nas_fpn.language.program import Word

__all__ = [
    "Body",
    "Feature",
    "HeadSetting",
    "LetName",
    "NumberSlot",
    "Order",
    "Program",
    "Statement",
    "Term",
    "WordHole",
    "WordSlot",
    "first_hole",
]


@dataclass(frozen=True, slots=True)
class WordHole:
    """``{sum | gp}``: words of one kind."""

    options: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class LetName:
    """A word that a ``let`` has named; asked once for the file."""

    name: str


@dataclass(frozen=True, slots=True)
class WordSlot:
    """A place where a word stands: the word, a hole, or a let's name."""

    word: Word | WordHole | LetName
    span: Span


@dataclass(frozen=True, slots=True)
class NumberSlot:
    """A whole number, or a hole of them."""

    options: tuple[int, ...]
    hole: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature by name (None: ``*``)."""

    name: str | None
    span: Span


@dataclass(frozen=True, slots=True)
class Term:
    """An operand: a feature, present or perhaps absent, and its own blocks."""

    feature: Feature
    optional: bool
    blocks: tuple[WordSlot, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One line for one name, as ``program.Line`` but with holes and places."""

    target: Feature
    level: NumberSlot | None
    merge: WordSlot | None
    terms: tuple[Term, ...]
    addends: tuple[Feature, ...]
    rest: bool
    blocks: tuple[WordSlot, ...] | None
    span: Span


@dataclass(frozen=True, slots=True)
class Order:
    """Lines of one range that run in any order; ``label`` is their range as written."""

    label: str
    statements: tuple[Statement, ...]
    span: Span  # of the words "in any order"


@dataclass(frozen=True, slots=True)
class Body:
    """``repeat N:`` and its lines."""

    count: NumberSlot
    items: tuple[Statement | Order, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class HeadSetting:
    """``up``/``down``: the word, and whether ``each`` operand asks anew."""

    slot: WordSlot | None
    each: bool


@dataclass(frozen=True, slots=True)
class Program:
    """A whole text. ``order`` lists the settings as written: "width", "then", "up", "let m"."""

    source: Source
    doc: str
    width: NumberSlot | None
    then: tuple[WordSlot, ...]
    up: HeadSetting
    down: HeadSetting
    lets: tuple[tuple[str, WordSlot], ...]
    order: tuple[str, ...]
    items: tuple[Statement | Order | Body, ...]
    words: Words


def first_hole(program: Program) -> Span | None:
    """Where the text first leaves something open, or None."""
    words = [*program.then, program.up.slot, program.down.slot, *(s for _, s in program.lets)]
    holes = [s.span for s in words if s is not None and isinstance(s.word, WordHole)]
    if program.width is not None and program.width.hole:
        holes.append(program.width.span)
    for item in program.items:
        if isinstance(item, Body) and item.count.hole:
            holes.append(item.count.span)
        for inner in item.items if isinstance(item, Body) else (item,):
            lines = inner.statements if isinstance(inner, Order) else (inner,)
            if len(lines) > 1 and isinstance(inner, Order):
                holes.append(inner.span)
            for line in lines:
                holes.extend(_holes(line))
    return min(holes, key=lambda span: (span.line, span.start), default=None)


def _holes(line: Statement) -> list[Span]:
    words = [line.merge, *(line.blocks or ()), *(b for term in line.terms for b in term.blocks)]
    holes = [s.span for s in words if s is not None and isinstance(s.word, WordHole)]
    if line.level is not None and line.level.hole:
        holes.append(line.level.span)
    holes.extend(t.feature.span for t in line.terms if t.optional or t.feature.name is None)
    return holes
