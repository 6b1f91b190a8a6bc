"""An architecture as its graph: passes unrolled, names resolved, nothing implicit left.

What a line leaves to defaults is decided here, once for building, counting and exporting:
resamplers that settings name, the ``then`` blocks, biases, keys, which lines are live.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas_fpn.language.graph import Edge, Graph, Node, Op
from nas_fpn.language.names import is_backbone, is_pyramid, level_of
from nas_fpn.language.program import Architecture, Line, Word, line_text
from nas_fpn.language.values import is_alias
from nas_fpn.language.words import Row, full_arguments, gives, joins

__all__ = ["lower", "moved", "resolve"]


def lower(architecture: Architecture, *, dead: bool = False) -> Graph:
    """The graph of an architecture: live nodes of every pass, in order.

    With ``dead`` also those lines that reach no output, and the inputs that only they read.
    """
    top = _Scope({}, {}, "")
    nodes: list[Node] = []
    repeats = 0
    for item in architecture.items:
        if isinstance(item, Line):
            top.line(item, architecture, nodes)
            continue
        repeats += 1
        for step in range(1, item.count + 1):
            prefix = f"repeat{repeats}.{step}."
            inner = _Scope(dict(top.values), dict(top.levels), prefix)
            for line in item.lines:
                inner.line(line, architecture, nodes)
            for line in item.lines:
                if is_pyramid(line.target):
                    top.values[line.target] = inner.values[line.target]
                    top.levels[line.target] = line.level
    names = sorted((n for n in top.values if is_pyramid(n)), key=lambda n: level_of(n) or 0)
    outputs = tuple((level_of(name) or 0, top.values[name]) for name in names)
    live = nodes if dead else _live(nodes, [value for _, value in outputs])
    inputs = sorted({int(e.source[1:]) for n in live for e in n.edges if is_backbone(e.source)})
    return Graph(tuple(live), tuple(inputs), outputs, architecture.width)


def moved(
    blocks: Sequence[Word], source: int, level: int, architecture: Architecture
) -> list[Word]:
    """An operand's blocks with its default resampler behind them, where it needs one."""
    if source == level:
        return list(blocks)
    kind = "up" if source > level else "down"
    rows = architecture.words.rows
    if any(rows[word.name].kind == kind for word in blocks):
        return list(blocks)
    return [*blocks, architecture.up if kind == "up" else architecture.down]


def resolve(
    words: Sequence[Word],
    prefix: str,
    width: int,
    *,
    source: int,
    level: int,
    rows: Mapping[str, Row],
) -> tuple[Op, ...]:
    """Words applied one after another as ops: keys, channels, biases, levels."""
    ops = []
    here = source
    for position, word in enumerate(words):
        row = rows[word.name]
        arguments = full_arguments(word, row)
        bias = arguments.pop("bias", None)
        channels = arguments.pop("channels", None)
        own = gives(word, row)
        if own and channels is None:
            channels = width
        if row.bias and not joins(word) and bias is None:
            bias = not _norm_follows(words[position + 1 :], rows)
        after = level if row.kind in ("up", "down") else here
        ops.append(
            Op(
                f"{prefix}{position}",
                word.name,
                tuple((k, v) for k, v in arguments.items() if v is not None),
                None if channels is None else int(channels),
                bool(bias),
                here,
                after,
                row,
            )
        )
        here = after
    return tuple(ops)


def _norm_follows(words: Sequence[Word], rows: Mapping[str, Row]) -> bool:
    following = next((word for word in words if word.name != "id"), None)
    return following is not None and rows[following.name].norm


class _Scope:
    """The names of a block in one pass: what value each means, and its level."""

    def __init__(self, values: dict[str, str], levels: dict[str, int], prefix: str) -> None:
        self.values = values
        self.levels = levels
        self.prefix = prefix
        self.count: dict[str, int] = {}

    def line(self, line: Line, architecture: Architecture, nodes: list[Node]) -> None:
        count = self.count[line.target] = self.count.get(line.target, 0) + 1
        sources = [self.source(operand.feature) for operand in line.operands]
        addends = tuple(self.values[name] for name in line.addends)
        text = line_text(line, dict(self.levels))
        self.levels[line.target] = line.level
        if is_alias(line, tuple(level for _, level in sources)):
            self.values[line.target] = sources[0][0]
            return
        name = line.target if count == 1 else f"{line.target}_{count}"
        key = f"{self.prefix}{name}"
        width, level = architecture.width, line.level
        rows = architecture.words.rows
        merge = None
        edges = []
        if line.merge is None and not addends:
            (value, source), *_ = sources
            words = moved(line.blocks or (), source, level, architecture)
            edges.append(Edge(value, source, ()))
            ops = resolve(words, "", width, source=source, level=level, rows=rows)
        else:
            for k, (operand, (value, source)) in enumerate(
                zip(line.operands, sources, strict=True), 1
            ):
                words = moved(operand.blocks, source, level, architecture)
                prefix = f"operand{k}."
                ops = resolve(words, prefix, width, source=source, level=level, rows=rows)
                edges.append(Edge(value, source, ops))
            blocks = line.blocks
            if blocks is None:
                blocks = architecture.then if line.merge is not None else ()
            if line.merge is not None:
                behind = () if addends else blocks
                merge = _merge(line.merge, behind, width, level, rows)
            ops = resolve(blocks, "", width, source=level, level=level, rows=rows)
        nodes.append(Node(key, line.target, level, merge, tuple(edges), addends, ops, text))
        self.values[line.target] = key

    def source(self, name: str) -> tuple[str, int]:
        if is_backbone(name):
            return name, int(name[1:])
        return self.values[name], self.levels[name]


def _merge(
    word: Word, behind: Sequence[Word], width: int, level: int, rows: Mapping[str, Row]
) -> Op:
    (op, *_) = resolve([word, *behind], "", width, source=level, level=level, rows=rows)
    return replace(op, key="merge")


def _live(nodes: list[Node], outputs: list[str]) -> list[Node]:
    wanted = set(outputs)
    live = []
    for node in reversed(nodes):
        if node.key in wanted:
            wanted.update(edge.source for edge in node.edges)
            wanted.update(node.addends)
            live.append(node)
    return live[::-1]
