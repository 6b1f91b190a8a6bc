"""How large each box of a drawing is and where it stands, in pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nas_fpn.language.drawing.labels import text_width
from nas_fpn.language.drawing.picture import Box, Link, Picture

__all__ = ["LINE", "Places", "Shape", "arrange"]

LINE = 12.0  # px from one line of text to the next
_SIDE, _TOP, _GAP, _ROW_GAP = 64.0, 12.0, 30.0, 18.0


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
        return self.xs[box.column], (self.ys[box.levels[0]] + self.ys[box.level]) / 2

    def side(self, box: Box, side: int, towards: float) -> tuple[float, float]:
        """The middle of its left (-1) or right (1) side; of a tall box the point nearest to y."""
        x, y = self.centre(box)
        shape = self.shapes[box.key]
        if box.lowest is not None:
            reach = max(0.0, shape.height / 2 - 13)
            y = min(max(towards, y - reach), y + reach)
        return x + side * shape.width / 2, y


def arrange(picture: Picture, beside: Mapping[Link, str]) -> Places:
    """Give columns and rows just the room that their boxes need.

    ``beside`` are the words that stand beside links: one too short for them is made longer.
    """
    shapes = {box.key: _shape(box) for box in picture.boxes}
    gaps = _gaps(picture, beside)
    xs: list[float] = []
    edge = _SIDE
    for column in range(picture.columns):
        edge += gaps[column] - _GAP
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
    for level in sorted({k for box in picture.boxes for k in box.levels}, reverse=True):
        row = [
            shapes[box.key]
            for box in picture.boxes
            if box.level == level and (box.lowest is None or box.lowest == level)
        ]
        lanes += [y + _ROW_GAP * k / 4 for k in (1, 2, 3)]
        y += _ROW_GAP + max((s.height / 2 + LINE * bool(s.name) + 2 for s in row), default=27.0)
        ys[level] = y
        y += max((s.height / 2 + LINE * len(s.below) for s in row), default=13.0)
    lanes += [y + _ROW_GAP * k / 4 for k in (1, 2, 3)]
    for box in picture.boxes:
        if box.lowest is not None:
            tall = abs(ys[box.lowest] - ys[box.level]) + shapes[box.key].height
            shapes[box.key] = replace(shapes[box.key], height=tall)
    return Places(tuple(xs), ys, shapes, tuple(lanes), top, y + _ROW_GAP, edge - _GAP + 14)


def _gaps(picture: Picture, beside: Mapping[Link, str]) -> list[float]:
    """The room left of each column: what stands beside a link must fit where it is short."""
    gaps = [_GAP] * picture.columns
    boxes = {box.key: box for box in picture.boxes}
    for link, text in beside.items():
        source, target = boxes[link.source], boxes[link.target]
        if target.column - source.column == 1:
            gaps[target.column] = max(gaps[target.column], text_width(text, 10) + 16)
    return gaps


def _shape(box: Box) -> Shape:
    if box.kind in {"entry", "exit"}:
        return Shape(7, 7, (), box.name if box.kind == "entry" else "")
    if box.kind == "pool":
        return Shape(14, 26, box.inside)
    if box.kind in {"input", "output"}:
        return Shape(32, 24, box.inside)
    wide = max(map(text_width, box.inside))
    tall = LINE * len(box.inside)
    if box.merge:
        return Shape(max(32, wide + 14), max(26, tall + 10), box.inside, box.name, box.below)
    return Shape(wide + 10, tall + 8, box.inside, box.name, box.below)


def _below(shape: Shape) -> float:
    return max((text_width(text, 10) for text in shape.below), default=0.0)
