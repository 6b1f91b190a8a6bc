"""A neck for the terminal: the grid of the picture in letters, sources by name."""

from nas_fpn.language.drawing.curves import ARROWS
from nas_fpn.language.drawing.fold import fold
from nas_fpn.language.drawing.picture import Box, Picture
from nas_fpn.language.program import Architecture

__all__ = ["draw_text"]


def draw_text(architecture: Architecture) -> str:
    """Levels as rows, coarse on top; under each line what it reads, with an arrow if resampled.

    What reaches no output stands in parentheses.
    """
    picture = fold(architecture)
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
        arrow = ARROWS[link.way[0]]
        reads.setdefault(link.target, []).append("·".join((arrow + word, *link.own)))
    return {(b.level, b.column): (_first(b), _second(b, reads)) for b in picture.boxes}


def _first(box: Box) -> str:
    if box.kind == "entry":
        text = f"├ {box.name}"
    elif box.kind == "exit":
        text = "┤"
    elif box.kind == "line":
        text = " ".join((box.name, "=", *box.inside))
    else:
        text = box.name
    return f"({text})" if box.mark == "dead" and box.kind in ("line", "input") else text


def _second(box: Box, reads: dict[str, list[str]]) -> str:
    return " ".join(reads[box.key]) if box.kind == "line" else ""


def _border(picture: Picture, wide: list[int], corners: str) -> str:
    row = [" "] * (3 + sum(wide) + 2 * len(wide))
    starts = [3 + sum(wide[:column]) + 2 * column for column in range(len(wide))]
    for frame in picture.frames:
        times = f" {frame.text} " if corners == "┌┐" else ""
        first, last = starts[frame.first], starts[frame.last]
        row[first : last + 1] = corners[0] + "─" * (last - first - 1) + corners[1]
        row[first + 2 : first + 2 + len(times)] = times
    return "".join(row)
