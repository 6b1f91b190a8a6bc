"""How large each box of a drawing is and where it stands, in pixels."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax import saxutils

from nas_fpn.language.drawing.fold import Box, Picture
from nas_fpn.language.graph import Op
from nas_fpn.language.program import Architecture, Word
from nas_fpn.language.words import full_arguments

__all__ = [
    "LINE",
    "Places",
    "Shape",
    "arrange",
    "brief",
    "escape",
    "label",
    "number",
    "text_width",
    "words",
]

LINE = 12.0  # px from one line of text to the next
_SIDE, _TOP, _GAP, _ROW_GAP = 64.0, 12.0, 30.0, 18.0
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Shape:
    """A box's size, the words inside it, the name above it and the words below it."""

    width: float
    height: float
    inside: tuple[str, ...]
    name: str = ""
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Centres of columns and levels, shapes by box, and the lanes between the rows."""

    xs: tuple[float, ...]
    ys: dict[int, float]
    shapes: dict[str, Shape]
    lanes: tuple[float, ...]
    top: float
    bottom: float
    width: float

    def centre(self, box: Box) -> tuple[float, float]:
        """The middle of a box: x, y."""
        return self.xs[box.column], self.ys[box.level]


def arrange(picture: Picture, architecture: Architecture) -> Places:
    """Give columns and rows just the room that their boxes need."""
    then = words(architecture.then)
    shapes = {box.key: _shape(box, then) for box in picture.boxes}
    xs: list[float] = []
    edge = _SIDE
    for column in range(picture.columns):
        wide = max(
            max(shapes[b.key].width, text_width(shapes[b.key].name), _below(shapes[b.key]))
            for b in picture.boxes
            if b.column == column
        )
        xs.append(edge + wide / 2)
        edge += wide + _GAP
    ys: dict[int, float] = {}
    lanes: list[float] = []
    top = y = _TOP
    for level in sorted({box.level for box in picture.boxes}, reverse=True):
        row = [shapes[box.key] for box in picture.boxes if box.level == level]
        lanes += [y + _ROW_GAP * k / 4 for k in (1, 2, 3)]
        y += _ROW_GAP + max(s.height / 2 + LINE * bool(s.name) + 2 for s in row)
        ys[level] = y
        y += max(s.height / 2 + LINE * len(s.below) for s in row)
    lanes += [y + _ROW_GAP * k / 4 for k in (1, 2, 3)]
    return Places(tuple(xs), ys, shapes, tuple(lanes), top, y + _ROW_GAP, edge - _GAP + 14)


def text_width(text: str, size: float = 11.0) -> float:
    """A little more than what common sans-serif fonts take."""
    return 0.58 * size * len(text)


def number(value: float) -> str:
    """At most one decimal, as short as it goes."""
    return f"{round(value, 1) + 0.0:g}"


def escape(text: str) -> str:
    """Text for the inside of an element; what XML cannot hold becomes U+FFFD."""
    return saxutils.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def label(word: Word | Op) -> str:
    """The word with those arguments that are not its row's default, bias and channels aside."""
    given = tuple((k, v) for k, v in word.arguments if k not in {"bias", "channels"})
    if isinstance(word, Op):
        default = full_arguments(Word(word.name), word.row)
        given = tuple((k, v) for k, v in given if v != default[k])
    return str(Word(word.name, given))


def words(ops: Iterable[Word | Op]) -> tuple[str, ...]:
    """The labels of some words, ``id`` left out."""
    return tuple(label(op) for op in ops if op.name != "id")


def brief(ops: Iterable[Word | Op]) -> tuple[str, ...]:
    """Those words without their arguments, which the tooltip and the legend give."""
    return tuple(word.partition("[")[0] for word in words(ops))


def _shape(box: Box, then: tuple[str, ...]) -> Shape:
    node = box.node
    if box.kind in {"entry", "exit"}:
        return Shape(7, 7, (), box.name if box.kind == "entry" else "")
    if node is None:
        return Shape(32, 24, (box.name,))
    own = words(node.ops)
    short = _rows(brief(node.ops))
    if node.merge is not None:
        inside = node.merge.name
        below = () if own == then else short or ("id",)
        return Shape(max(32, text_width(inside) + 14), 26, (inside,), node.name, below)
    inside_rows = short or ("+" if node.addends else "id",)
    wide = max(map(text_width, inside_rows))
    return Shape(wide + 10, LINE * len(inside_rows) + 8, inside_rows, node.name)


def _rows(labels: tuple[str, ...]) -> tuple[str, ...]:
    """One word a row; of more than four words, as many a row as keep it to four rows."""
    each = -(-len(labels) // 4)
    return tuple(" ".join(labels[k : k + each]) for k in range(0, len(labels), max(1, each)))


def _below(shape: Shape) -> float:
    return max((text_width(text, 10) for text in shape.below), default=0.0)
