"""A graph folded for drawing: each line of a repeat once, its passes as a frame with ports.

Levels are rows and time runs to the right, as the field draws its pyramids. A box gets the
first column in which all that it reads is there; a frame is a barrier. What enters a frame goes
through a port on its left side (first pass: from outside; later passes: from the pass before),
what leaves it through a port on its right side.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from nas_fpn.language.graph import Graph, Node, Op

__all__ = ["Box", "Frame", "Link", "Picture", "fold"]

Kind = Literal["input", "line", "entry", "exit", "output"]
Role = Literal["operand", "addend", "wire"]


@dataclass(frozen=True, slots=True)
class Box:
    """Something that stands at a level and a column; ``node`` is that of its last live pass."""

    key: str
    kind: Kind
    name: str
    level: int
    column: int
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """From one box to another. ``ops`` are the operand's own; ``position`` counts from 0."""

    source: str
    target: str
    role: Role
    ops: tuple[Op, ...] = ()
    position: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A repeat: its columns, from its entry ports to its exit ports, and how often it runs."""

    key: str
    count: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Picture:
    """All boxes, links and frames; ``columns`` is how many columns they take."""

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    frames: tuple[Frame, ...]
    columns: int


# What an operand of a repeat's line reads: a line of the same pass, one of an earlier pass, or a
# box outside. One operand may read different things in different passes: all of them.
_Origin = tuple[Literal["here", "before", "outside"], str]


def fold(graph: Graph) -> Picture:
    """Give every live line its place, each line of a repeat once."""
    sheet = _Sheet()
    for level in graph.inputs:
        sheet.place(f"c{level}", "input", f"c{level}", level)
    sheet.start = 1
    for frame, nodes in groupby(graph.nodes, key=lambda node: _split(node.key)[0]):
        if frame:
            _fold_repeat(sheet, frame, tuple(nodes), _read_outside(graph, frame))
        else:
            for node in nodes:
                _place_line(sheet, node.key, node, [_outside(s) for s in _sources(node)])
    sheet.start = sheet.end()
    for level, value in graph.outputs:
        sheet.place(f"output {level}", "output", f"p{level}", level)
        sheet.links.append(Link(_outside(value), f"output {level}", "wire"))
    boxes = tuple(sheet.boxes.values())
    return Picture(boxes, tuple(sheet.links), tuple(sheet.frames), sheet.end())


class _Sheet:
    """What has been placed so far; nothing new stands left of column ``start``."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.links: list[Link] = []
        self.frames: list[Frame] = []
        self.start = 0

    def place(
        self, key: str, kind: Kind, name: str, level: int, node: Node | None = None, after: int = -1
    ) -> None:
        taken = {box.column for box in self.boxes.values() if box.level == level}
        column = max(self.start, after + 1)
        while column in taken:
            column += 1
        self.boxes[key] = Box(key, kind, name, level, column, node)

    def end(self) -> int:
        return max((box.column for box in self.boxes.values()), default=-1) + 1


def _place_line(sheet: _Sheet, key: str, node: Node, sources: list[str]) -> None:
    after = max(sheet.boxes[source].column for source in sources)
    sheet.place(key, "line", node.name, node.level, node, after)
    for position, source in enumerate(sources):
        if position < len(node.edges):
            sheet.links.append(Link(source, key, "operand", node.edges[position].ops, position))
        else:
            sheet.links.append(Link(source, key, "addend", (), position))


def _fold_repeat(sheet: _Sheet, frame: str, nodes: tuple[Node, ...], outside: set[str]) -> None:
    lines: dict[str, Node] = {}
    reads: dict[str, list[set[_Origin]]] = {}
    for node in nodes:
        _, number, name = _split(node.key)
        lines[name] = node
        slots = reads.setdefault(name, [set() for _ in _sources(node)])
        for slot, source in zip(slots, _sources(node), strict=True):
            slot.add(_origin(source, frame, number))
    sheet.start = first = sheet.end()
    for slot in (slot for slots in reads.values() for slot in slots):
        port = _box(slot, frame)
        if port not in sheet.boxes and not _is_here(slot):
            name, level = _feature(slot, sheet, lines)
            sheet.place(port, "entry", name, level)
            for where, source in sorted(slot):
                if where == "outside":
                    sheet.links.append(Link(source, port, "wire"))
    sheet.start = sheet.end()
    waiting = dict(lines)
    while waiting:  # a line that lives in the last pass only was met late: order by what is read
        for name, node in waiting.items():
            sources = [_box(slot, frame) for slot in reads[name]]
            if all(source in sheet.boxes for source in sources):
                _place_line(sheet, f"{frame}.{name}", node, sources)
                del waiting[name]
                break
        else:
            raise ValueError(f"{frame} reads in a circle: {', '.join(waiting)}")
    sheet.start = sheet.end()
    carried = {
        key for slots in reads.values() for slot in slots for w, key in slot if w == "before"
    }
    for name, node in lines.items():
        if name in carried | outside:
            sheet.place(_exit(frame, name), "exit", node.name, node.level)
            sheet.links.append(Link(f"{frame}.{name}", _exit(frame, name), "wire"))
    count = max(_split(node.key)[1] for node in nodes)
    sheet.start = sheet.end()
    sheet.frames.append(Frame(frame, count, first, sheet.start - 1))


def _sources(node: Node) -> tuple[str, ...]:
    return (*(edge.source for edge in node.edges), *node.addends)


def _split(key: str) -> tuple[str, int, str]:
    """``"repeat1.2.p4"`` is line p4 in pass 2 of repeat1; outside a repeat: ``("", 0, key)``."""
    frame, _, rest = key.partition(".")
    if not rest:
        return "", 0, key
    number, _, name = rest.partition(".")
    return frame, int(number), name


def _outside(value: str) -> str:
    """The box that shows a value to whoever stands outside the repeat that made it."""
    frame, _, name = _split(value)
    return _exit(frame, name) if frame else name


def _exit(frame: str, name: str) -> str:
    return f"{frame}.{name} out"


def _origin(source: str, frame: str, number: int) -> _Origin:
    of, when, name = _split(source)
    if of != frame:
        return "outside", _outside(source)
    return ("here", name) if when == number else ("before", name)


def _is_here(slot: set[_Origin]) -> bool:
    return all(where == "here" for where, _ in slot)


def _box(slot: set[_Origin], frame: str) -> str:
    """The box that an operand is drawn from: a line of the body, or an entry port."""
    if _is_here(slot):
        return f"{frame}.{min(slot)[1]}"
    return f"{frame} in {' '.join(f'{where} {key}' for where, key in sorted(slot))}"


def _feature(slot: set[_Origin], sheet: _Sheet, lines: dict[str, Node]) -> tuple[str, int]:
    """The name and the level that a port stands for."""
    where, key = min(slot)
    if where == "outside":
        return sheet.boxes[key].name, sheet.boxes[key].level
    return lines[key].name, lines[key].level


def _read_outside(graph: Graph, frame: str) -> set[str]:
    """The lines of a repeat that are read by others or leave the neck."""
    others = [s for n in graph.nodes if _split(n.key)[0] != frame for s in _sources(n)]
    values = [*others, *(value for _, value in graph.outputs)]
    return {name for of, _, name in map(_split, values) if of == frame}
