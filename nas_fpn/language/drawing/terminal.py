"""A neck for the terminal: the grid of the picture in letters, sources by name."""

from nas_fpn.language.drawing.curves import ARROWS, way_of
from nas_fpn.language.drawing.fold import Box, Picture, fold
from nas_fpn.language.drawing.places import brief
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture

__all__ = ["draw_text"]


def draw_text(architecture: Architecture) -> str:
    """Levels as rows, coarse on top; under each line what it reads, with an arrow if resampled."""
    picture = fold(lower(architecture))
    cells = _cells(picture)
    wide = [
        max(len(text) for (_, c), pair in cells.items() if c == column for text in pair)
        for column in range(picture.columns)
    ]
    rows = [_border(picture, wide, "┌┐")]
    for level in sorted({level for level, _ in cells}, reverse=True):
        for k in (0, 1):
            row = (
                cells.get((level, column), ("", ""))[k].ljust(wide[column])
                for column in range(picture.columns)
            )
            rows.append(f"{f'{level}' if k == 0 else ' '}  {'  '.join(row)}")
    rows.append(_border(picture, wide, "└┘"))
    return "\n".join(row.rstrip() for row in rows if row.strip()) + "\n"


def _cells(picture: Picture) -> dict[tuple[int, int], tuple[str, str]]:
    boxes = {box.key: box for box in picture.boxes}
    reads: dict[str, list[str]] = {}
    for link in picture.links:
        word = "+" + boxes[link.source].name if link.role == "addend" else boxes[link.source].name
        own = brief(op for op in link.ops if op.source == op.level)
        arrow = ARROWS[way_of(link, boxes)[0]]
        reads.setdefault(link.target, []).append("·".join((arrow + word, *own)))
    return {(b.level, b.column): (_first(b), _second(b, reads)) for b in picture.boxes}


def _first(box: Box) -> str:
    if box.node is None:
        return {"entry": f"├ {box.name}", "exit": "┤"}.get(box.kind, box.name)
    merge = (box.node.merge.name,) if box.node.merge else brief(box.node.ops)
    return " ".join((box.name, "=", *merge))


def _second(box: Box, reads: dict[str, list[str]]) -> str:
    return " ".join(reads[box.key]) if box.kind == "line" else ""


def _border(picture: Picture, wide: list[int], corners: str) -> str:
    row = [" "] * (3 + sum(wide) + 2 * len(wide))
    starts = [3 + sum(wide[:column]) + 2 * column for column in range(len(wide))]
    for frame in picture.frames:
        times = f" ×{frame.count} " if corners == "┌┐" else ""
        first, last = starts[frame.first], starts[frame.last]
        row[first : last + 1] = corners[0] + "─" * (last - first - 1) + corners[1]
        row[first + 2 : first + 2 + len(times)] = times
    return "".join(row)
