"""A graph folded for drawing: each line of a repeat once, its passes as a frame with ports.

Levels are rows and time runs to the right, as the field draws its pyramids. A box gets the
first column in which all that it reads is there; a frame is a barrier. What enters a frame goes
through a port on its left side (first pass: from outside; later passes: from the pass before),
what leaves it through a port on its right side. Lines that reach no output are kept, and marked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal

from nas_fpn.language.drawing.labels import brief, label, stack, words
from nas_fpn.language.drawing.picture import Box, Frame, Kind, Link, Mark, Picture, Sheet, Way
from nas_fpn.language.graph import Edge, Graph, Node, Op
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture

__all__ = ["Weights", "fold"]

Weights = Mapping[str, Sequence[float]]
"""By the key of a node, what its merge multiplies its operands with, in their order."""

# What an operand of a repeat's line reads: a line of the same pass, one of an earlier pass, or a
# box outside. One operand may read different things in different passes: all of them.
_Origin = tuple[Literal["here", "before", "outside"], str]


def fold(
    architecture: Architecture, *, weights: Weights | None = None, written_out: bool = False
) -> Picture:
    """Give every line its place, each line of a repeat once.

    A signature names a setting (``then``, ``up``, ``down``) where that is what happens;
    ``written_out``: the words of the setting.
    Raises ValueError where ``weights`` has not one number for each operand of a line.
    """
    graph, nodes = _whole(architecture)
    folder = _Folder(architecture, frozenset(_folded(n.key) for n in graph.nodes), weights or {})
    folder.written_out = written_out
    folder.weigh(nodes)
    sheet = folder.sheet
    for level in sorted({int(e.source[1:]) for n in nodes for e in n.edges if _is_input(e)}):
        folder.place(f"c{level}", "input", f"c{level}", level, inside=(f"c{level}",))
    sheet.turn()
    for frame, group in groupby(nodes, key=lambda node: _split(node.key)[0]):
        if frame:
            folder.repeat(frame, tuple(group), _read_outside(nodes, graph, frame))
        else:
            for node in group:
                folder.line(node.key, node, [_outside(s) for s in _sources(node)])
    sheet.turn()
    for level, value in graph.outputs:
        folder.place(f"output {level}", "output", f"p{level}", level, inside=(f"p{level}",))
        sheet.links.append(Link(_outside(value), f"output {level}", "wire"))
    return _marked(sheet.picture())


def _whole(architecture: Architecture) -> tuple[Graph, tuple[Node, ...]]:
    """The live graph, and its nodes with the lines between them that live in no pass."""
    graph = lower(architecture)
    live = {node.key for node in graph.nodes}
    lines = {_folded(key) for key in live}
    every = lower(architecture, dead=True).nodes
    return graph, tuple(n for n in every if n.key in live or _folded(n.key) not in lines)


class _Folder:
    """A sheet, and what is to know of the program whose lines are put on it."""

    def __init__(self, architecture: Architecture, live: frozenset[str], weights: Weights) -> None:
        self.sheet = Sheet()
        self.architecture = architecture
        self.then = words(architecture.then)
        self.live = live
        self.weights = weights
        self.written_out = False
        self.learnt: dict[str, list[tuple[float, ...]]] = {}

    def weigh(self, nodes: Sequence[Node]) -> None:
        """Sort the weights by lines, pass by pass."""
        for node in nodes:
            given = self.weights.get(node.key)
            if given is None:
                continue
            if len(given) != len(node.edges):
                raise ValueError(
                    f"{node.key} has {len(node.edges)} operands, but got weights {tuple(given)}"
                )
            self.learnt.setdefault(_folded(node.key), []).append(tuple(map(float, given)))

    def place(
        self,
        key: str,
        kind: Kind,
        name: str,
        level: int,
        *,
        inside: tuple[str, ...] = (),
        after: int = -1,
    ) -> None:
        column = self.sheet.column(range(level, level + 1), after)
        stage = self.sheet.stage
        text = f"{kind} {name}"
        box = Box(key, kind, name, level, column, inside=inside, text=text, stage=stage)
        self.sheet.boxes[key] = box

    def line(self, key: str, node: Node, sources: list[str]) -> None:
        after = max(self.sheet.boxes[source].column for source in sources)
        self.place(key, "line", node.name, node.level, after=after)
        own, short = words(node.ops), stack(brief(node.ops))
        box = replace(
            self.sheet.boxes[key],
            text=node.text.strip(),
            mark="" if _folded(node.key) in self.live else "dead",
            inside=short or ("+" if node.addends else "id",),
        )
        if node.merge is not None:
            below = () if own == self.then else short or ("id",)
            merge = label(node.merge)
            box = replace(box, merge=merge, inside=(node.merge.name,), below=below)
        then = node.merge is not None and own == self.then and not self.written_out
        does = ("then",) if then else self.signature(node.ops)
        self.sheet.boxes[key] = replace(box, signature=" ".join((box.merge, *does)))
        learnt = self.learnt.get(_folded(node.key), [])
        shares = _shares(learnt)
        for position, source in enumerate(sources):
            link = Link(source, key, "addend", position)
            if position < len(node.edges):
                link = _operand(link, node)
                weights = tuple(once[position] for once in learnt)
                link = replace(
                    link,
                    weights=weights,
                    share=shares[position] if shares else None,
                    signature=" ".join(self.signature(node.edges[position].ops)),
                )
            self.sheet.links.append(link)

    def signature(self, ops: Sequence[Op]) -> tuple[str, ...]:
        """The words in full, but where they are what a setting says, that setting."""
        default = {label(self.architecture.up): "up", label(self.architecture.down): "down"}
        said = []
        for op in ops:
            channels = "" if op.channels in (None, self.architecture.width) else f" {op.channels}"
            moves = op.source != op.level and not self.written_out
            word = default.get(label(op), label(op)) if moves else label(op)
            said.append(f"{word}{channels}{' bias' if op.bias else ''}")
        return tuple(said)

    def repeat(self, frame: str, nodes: tuple[Node, ...], outside: set[str]) -> None:
        sheet = self.sheet
        lines: dict[str, Node] = {}
        reads: dict[str, list[set[_Origin]]] = {}
        for node in nodes:
            _, count, name = _split(node.key)
            lines[name] = node
            slots = reads.setdefault(name, [set() for _ in _sources(node)])
            for slot, source in zip(slots, _sources(node), strict=True):
                slot.add(_origin(source, frame, count))
        sheet.turn()
        first = sheet.start
        for slot in (slot for slots in reads.values() for slot in slots):
            port = _box(slot, frame)
            if port not in sheet.boxes and not _is_here(slot):
                name, level = _feature(slot, sheet, lines)
                self.place(port, "entry", name, level)
                for where, source in sorted(slot):
                    if where == "outside":
                        sheet.links.append(Link(source, port, "wire"))
        sheet.turn()
        waiting = dict(lines)
        while waiting:  # a line of the last pass only was met late: order by what is read
            for name, node in waiting.items():
                sources = [_box(slot, frame) for slot in reads[name]]
                if all(source in sheet.boxes for source in sources):
                    self.line(f"{frame}.{name}", node, sources)
                    del waiting[name]
                    break
            else:
                raise ValueError(f"{frame} reads in a circle: {', '.join(waiting)}")
        sheet.turn()
        carried = {
            key for slots in reads.values() for slot in slots for w, key in slot if w == "before"
        }
        for name, node in lines.items():
            if name in carried | outside:
                self.place(_exit(frame, name), "exit", node.name, node.level)
                sheet.links.append(Link(f"{frame}.{name}", _exit(frame, name), "wire"))
        count = max(_split(node.key)[1] for node in nodes)
        last = sheet.end() - 1
        sheet.turn()
        sheet.frames.append(Frame(frame, f"×{count}", first, last))


def _operand(link: Link, node: Node) -> Link:
    """The link with what happens on its way: its own blocks, and how it changes level."""
    own = node.edges[link.position].ops
    way: Way = ("same", "")
    for op in own if node.merge else (*own, *node.ops):
        if op.source != op.level:
            way = ("up" if op.source > op.level else "down"), label(op)
            break
    return replace(
        link,
        role="operand",
        way=way,
        own=brief(op for op in own if op.source == op.level),
        words=words(own),
        gates=node.merge is not None and link.position == 0 and node.merge.row.operands == (2, 2),
    )


def _shares(learnt: list[tuple[float, ...]]) -> tuple[float, ...]:
    """The part of each operand in 0 .. 1, the mean over passes; none where all are the same."""
    if not learnt or all(max(once) - min(once) <= 1e-6 for once in learnt):
        return ()
    parts = []
    for once in learnt:
        total = sum(map(abs, once))
        parts.append([abs(w) / total if total else 0.0 for w in once])
    return tuple(sum(part) / len(parts) for part in zip(*parts, strict=True))


def _marked(picture: Picture) -> Picture:
    """What feeds only dead lines is dead itself, links too."""
    alive = {b.key for b in picture.boxes if b.kind == "output" or _lives(b)}
    feeds: dict[str, list[str]] = {}
    for link in picture.links:
        feeds.setdefault(link.source, []).append(link.target)
    for box in reversed(picture.boxes):  # ports first, then the inputs that lead to them
        if box.kind in ("entry", "input") and alive.intersection(feeds.get(box.key, ())):
            alive.add(box.key)
    for link in picture.links:  # a frame's exits are alive with their lines
        if link.target.endswith(" out") and link.source in alive:
            alive.add(link.target)

    def mark(key: str) -> Mark:
        return "" if key in alive else "dead"

    lines = [box.key for box in picture.boxes if box.kind == "line"]
    return replace(
        picture,
        boxes=tuple(replace(box, mark=mark(box.key)) for box in picture.boxes),
        links=tuple(replace(link, mark=mark(link.target)) for link in picture.links),
        frames=tuple(
            frame
            if any(k in alive for k in lines if k.startswith(f"{frame.key}."))
            else replace(frame, mark="dead")
            for frame in picture.frames
        ),
    )


def _lives(box: Box) -> bool:
    return box.kind == "line" and box.mark != "dead"


def _is_input(edge: Edge) -> bool:
    return edge.source[0] == "c" and edge.source[1:].isdigit()


def _sources(node: Node) -> tuple[str, ...]:
    return (*(edge.source for edge in node.edges), *node.addends)


def _split(key: str) -> tuple[str, int, str]:
    """``"repeat1.2.p4"`` is line p4 in pass 2 of repeat1; outside a repeat: ``("", 0, key)``."""
    frame, _, rest = key.partition(".")
    if not rest:
        return "", 0, key
    number, _, name = rest.partition(".")
    return frame, int(number), name


def _folded(key: str) -> str:
    """The key of the box of a line in any pass: ``repeat1.p4``."""
    frame, _, name = _split(key)
    return f"{frame}.{name}" if frame else name


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


def _feature(slot: set[_Origin], sheet: Sheet, lines: dict[str, Node]) -> tuple[str, int]:
    """The name and the level that a port stands for."""
    where, key = min(slot)
    if where == "outside":
        return sheet.boxes[key].name, sheet.boxes[key].level
    return lines[key].name, lines[key].level


def _read_outside(nodes: Sequence[Node], graph: Graph, frame: str) -> set[str]:
    """The lines of a repeat that are read by others or leave the neck."""
    others = [s for n in nodes if _split(n.key)[0] != frame for s in _sources(n)]
    values = [*others, *(value for _, value in graph.outputs)]
    return {name for of, _, name in map(_split, values) if of == frame}
