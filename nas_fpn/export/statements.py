"""A program as Python statements: what runs in which pass, and what is dead.

Names of the program become local variables, so its own scoping does the work that the graph's
resolved values do for the neck: an alias is an assignment, what a repeat carries is a variable
that lives on. Only what reaches an output is kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from nas_fpn.language.graph import Graph
from nas_fpn.language.names import is_backbone, is_pyramid, level_of
from nas_fpn.language.program import Architecture, Line, Repeat, line_text
from nas_fpn.language.values import is_alias

__all__ = ["Passes", "Statement", "statements"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One line: ``target = name(sources)``, or ``target = source`` where ``name`` is empty."""

    target: str
    name: str  # of the cell below its scope: "p4", "p4_2"
    level: int
    sources: tuple[str, ...]  # operands, then addends
    text: str  # the line of the program


@dataclass(frozen=True, slots=True)
class Passes:
    """Statements that run once (``repeat`` is empty), or in the passes ``first .. last``."""

    repeat: str
    first: int
    last: int
    statements: tuple[Statement, ...]


def statements(architecture: Architecture, graph: Graph) -> tuple[Passes, ...]:
    """The live statements in order; successive passes with the same statements together."""
    live = {f"p{level}" for level, _ in graph.outputs}
    kept = [
        (repeat, number, _live(rows, live))
        for repeat, number, rows in reversed(list(_unrolled(architecture)))
    ]
    kept.reverse()
    cells = [
        f"{repeat}.{number}.{row.name}" if repeat else row.name
        for repeat, number, rows in kept
        for row in rows
        if row.name
    ]
    if cells != [node.key for node in graph.nodes]:
        raise AssertionError("the statements of a program and the nodes of its graph differ")
    found = []
    for (repeat, rows), group in groupby(kept, key=lambda scope: (scope[0], scope[2])):
        numbers = [number for _, number, _ in group]
        if rows:
            found.append(Passes(repeat, numbers[0], numbers[-1], rows))
    return tuple(found)


def _unrolled(architecture: Architecture) -> Iterator[tuple[str, int, list[Statement]]]:
    """Every pass of every repeat, and the stretches of lines between, with their statements."""
    levels: dict[str, int] = {}
    count: dict[str, int] = {}
    repeats = 0
    for is_repeat, items in groupby(architecture.items, key=lambda item: isinstance(item, Repeat)):
        if not is_repeat:
            yield "", 0, list(_rows((i for i in items if isinstance(i, Line)), levels, count))
            continue
        for item in items:
            assert isinstance(item, Repeat)
            repeats += 1
            for number in range(1, item.count + 1):
                inner = dict(levels)
                yield f"repeat{repeats}", number, list(_rows(item.lines, inner, {}))
            levels.update({line.target: line.level for line in item.lines})


def _rows(
    lines: Iterable[Line], levels: dict[str, int], count: dict[str, int]
) -> Iterator[Statement]:
    for line in lines:
        number = count[line.target] = count.get(line.target, 0) + 1
        features = tuple(operand.feature for operand in line.operands)
        alias = is_alias(line, tuple(_level(feature, levels) for feature in features))
        name = line.target if number == 1 else f"{line.target}_{number}"
        text = line_text(line, levels)
        yield Statement(
            line.target, "" if alias else name, line.level, (*features, *line.addends), text
        )


def _level(feature: str, levels: dict[str, int]) -> int:
    known = level_of(feature) if is_backbone(feature) or is_pyramid(feature) else None
    return levels[feature] if known is None else known


def _live(rows: list[Statement], live: set[str]) -> tuple[Statement, ...]:
    """The rows that are wanted; ``live`` goes from the names wanted behind to those before."""
    kept = []
    for row in reversed(rows):
        if row.target in live and (row.name or row.sources != (row.target,)):
            live.discard(row.target)
            live.update(source for source in row.sources if not is_backbone(source))
            kept.append(row)
    return tuple(reversed(kept))
