"""Which value a name means: lines numbered once, aliases gone.

A value is written ``("c", level)`` for a backbone feature, ``("in", name)`` for what a
repeated body finds in a pyramid name when a pass begins, or the number of the line that made it.
"""

from dataclasses import dataclass
from typing import NamedTuple

from nas_fpn.language.names import is_pyramid, level_of
from nas_fpn.language.program import Architecture, Line

__all__ = ["Cell", "Flow", "Loop", "Source", "flow", "is_alias"]

Source = tuple[str, int] | tuple[str, str] | int


class Cell(NamedTuple):
    """A line that makes a value: number, the line, its sources with their levels.

    ``reads`` are the values of its sources and its addends.
    """

    number: int
    line: Line
    sources: tuple[tuple[Source, int], ...]
    addends: tuple[Source, ...]
    reads: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A repeated body: what each name holds at entry and what it leaves, by pyramid name.

    ``entry`` are the values outside (those read or carried), ``exit`` the values at a body's end.
    """

    count: int
    cells: tuple[Cell, ...]
    entry: tuple[tuple[str, Source], ...]
    exit: tuple[tuple[str, Source], ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """An architecture by values. ``outputs`` are (pyramid name, value), finest first.

    After a loop the value of a pyramid name that it assigns is ``("loop<i>", name)``.
    """

    items: tuple[Cell | Loop, ...]
    outputs: tuple[tuple[str, Source], ...]


def is_alias(line: Line, levels: tuple[int, ...]) -> bool:
    """Whether a line only gives a name: one source at its own level, nothing done to it."""
    return (
        line.merge is None
        and not line.addends
        and levels[0] == line.level
        and all(word.name == "id" for word in line.blocks or ())
    )


def flow(architecture: Architecture) -> Flow:
    """Resolve the names of an architecture."""
    state = _State()
    items: list[Cell | Loop] = []
    env: dict[str, Source] = {}
    loops = 0
    for item in architecture.items:
        if isinstance(item, Line):
            cell = state.line(item, env)
            if cell is not None:
                items.append(cell)
            continue
        assigned = {line.target for line in item.lines}
        carried = [name for name in env if is_pyramid(name) and name in assigned]
        inner: dict[str, Source] = {
            name: ("in", name) if name in carried else value for name, value in env.items()
        }
        for name in carried:
            state.levels["in", name] = level_of(name) or 0
        cells = [state.line(line, inner) for line in item.lines]
        entry = tuple((name, env[name]) for name in carried)
        leaving = sorted(name for name in assigned if is_pyramid(name))
        items.append(
            Loop(
                item.count,
                tuple(cell for cell in cells if cell is not None),
                entry,
                tuple((name, inner[name]) for name in leaving),
            )
        )
        for name in leaving:
            env[name] = (f"loop{loops}", name)
            state.levels[env[name]] = level_of(name) or 0
        loops += 1
    names = sorted((n for n in env if is_pyramid(n)), key=lambda n: level_of(n) or 0)
    return Flow(tuple(items), tuple((name, env[name]) for name in names))


class _State:
    """Numbers and levels of the values so far."""

    def __init__(self) -> None:
        self.count = 0
        self.levels: dict[Source, int] = {}

    def line(self, line: Line, env: dict[str, Source]) -> Cell | None:
        """Bind the line's target in ``env``; None where the line is an alias."""
        sources = tuple([self.source(operand.feature, env) for operand in line.operands])
        reads = tuple([value for value, _ in sources])
        if line.merge is None and is_alias(line, (sources[0][1],)):
            env[line.target] = reads[0]
            return None
        number = self.count
        self.count += 1
        self.levels[number] = line.level
        addends = tuple([env[name] for name in line.addends]) if line.addends else ()
        env[line.target] = number
        return Cell(number, line, sources, addends, reads + addends)

    def source(self, name: str, env: dict[str, Source]) -> tuple[Source, int]:
        value = env.get(name)
        if value is None:  # no assignment of this name: a backbone's
            return ("c", int(name[1:])), int(name[1:])
        return value, self.levels[value]
