"""The links of a drawing as SVG: routed, coloured by direction, dashed by resampler."""

from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from nas_fpn.language.drawing.fold import Box, Link, Picture
from nas_fpn.language.drawing.places import (
    LINE,
    Places,
    brief,
    escape,
    label,
    number,
    text_width,
    words,
)
from nas_fpn.language.drawing.route import Point, Route, Router, samples

__all__ = ["ARROWS", "PLUS", "Way", "curves", "gates", "resamplers", "way_of"]

Way = tuple[str, str]  # "up", "down" or "same"; the resampler with its arguments, or ""

ARROWS = {"up": "↑", "down": "↓", "same": ""}
PLUS = '<circle class="tip" r="5"/><path class="plus" d="M-3 0H3M0 -3V3"/>'
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2 1 2 1 2", "1 4")


def curves(picture: Picture, places: Places) -> Iterator[str]:
    """One ``<g>`` for each link, in the order of the links."""
    boxes = {box.key: box for box in picture.boxes}
    router = Router(places.lanes)
    for box in picture.boxes:
        for x, y, width, height in _taken(box, places):
            router.block(x, y, width, height)
    ends = _ends(picture.links, boxes, places)
    span = [boxes[link.target].column - boxes[link.source].column for link in picture.links]
    routes: dict[int, Route] = {}
    for i in sorted(range(len(span)), key=lambda i: (span[i], i)):  # short ones have no choice
        source = boxes[picture.links[i].source]
        routes[i] = router.route(_side(source, places, 1), ends[i], source=source.key)
    dashes = resamplers(picture)
    for i, link in enumerate(picture.links):
        yield _curve(link, boxes, routes[i], dashes, router)


def way_of(link: Link, boxes: dict[str, Box]) -> Way:
    """How a link changes level: the resampler among its own ops, or of a line without a merge."""
    node = boxes[link.target].node
    ops = link.ops if node is None or node.merge else (*link.ops, *node.ops)
    for op in ops:
        if op.source != op.level and link.role == "operand":
            return ("up" if op.source > op.level else "down"), label(op)
    return "same", ""


def resamplers(picture: Picture) -> dict[Way, str]:
    """Every resampler drawn, in order, with the dashes that tell it from the others."""
    boxes = {box.key: box for box in picture.boxes}
    found: dict[Way, str] = {}
    for link in picture.links:
        way = way_of(link, boxes)
        if way[0] != "same" and way not in found:
            before = sum(direction == way[0] for direction, _ in found)
            found[way] = _DASHES[before % len(_DASHES)]
    return found


def gates(link: Link, target: Box) -> bool:
    """Whether the operand has a part of its own: the first of a merge of exactly two."""
    merge = target.node.merge if target.node else None
    return merge is not None and link.position == 0 and merge.row.operands == (2, 2)


def _taken(box: Box, places: Places) -> Iterator[tuple[float, float, float, float]]:
    """The rectangles of a box, its name and the words below it: corner, width, height."""
    x, y = places.centre(box)
    shape = places.shapes[box.key]
    left, top = x - shape.width / 2, y - shape.height / 2
    yield left - 2, top - 2, shape.width + 4, shape.height + 4
    if shape.name:
        wide = text_width(shape.name)
        yield x - wide / 2, top - 12, wide, 10
    for k, text in enumerate(shape.below):
        wide = text_width(text, 10)
        yield x - wide / 2, y + shape.height / 2 + 2 + LINE * k, wide, 10


def _side(box: Box, places: Places, side: int) -> Point:
    x, y = places.centre(box)
    return x + side * places.shapes[box.key].width / 2, y


def _ends(links: tuple[Link, ...], boxes: dict[str, Box], places: Places) -> list[Point]:
    """Where each link arrives: coarser above, finer below, the nearest of its level between."""
    ends = [(0.0, 0.0)] * len(links)
    for key, box in boxes.items():
        x, y = _side(box, places, -1)
        half = places.shapes[key].height / 2
        sources = {i: boxes[link.source] for i, link in enumerate(links) if link.target == key}
        order = sorted(sources, key=lambda i: (-sources[i].level, sources[i].column))
        same = [k for k, i in enumerate(order) if sources[i].level == box.level]
        middle = same[-1] if same else (len(order) - 1) / 2
        step = min(8.0, (half - 3) / max(1, middle, len(order) - 1 - middle))
        for k, i in enumerate(order):
            down = step * (k - middle)
            inset = half - (half * half - down * down) ** 0.5 if _is_round(box) else 0.0
            ends[i] = x + inset, y + down
    return ends


def _is_round(box: Box) -> bool:
    return box.node is not None and box.node.merge is not None


def _curve(
    link: Link, boxes: dict[str, Box], route: Route, dashes: dict[Way, str], router: Router
) -> str:
    way = way_of(link, boxes)
    source, target = boxes[link.source], boxes[link.target]
    shown = brief(op for op in link.ops if op.source == op.level)
    if sum(other[0] == way[0] for other in dashes) > 1 and link.ops:
        shown += (ARROWS[way[0]] + way[1],)
    dash = f' stroke-dasharray="{dashes[way]}"' if dashes.get(way) else ""
    resampler = f" data-resampler={quoteattr(way[1])}" if way[1] else ""
    note = f"{source.name} → {' '.join((*words(link.ops), target.name))}"
    return (
        f'<g class="link {way[0]} {link.role}"{resampler}><title>{escape(note)}</title>'
        f'<path d="{_path(route)}"{dash}/>{_tip(link, target, route[-1][-1])}'
        f"{_beside(route, ' '.join(shown), router)}</g>"
    )


def _tip(link: Link, target: Box, end: Point) -> str:
    """An arrowhead; a dot for an operand that gates; a plus for an addend; none at a port."""
    x, y = end
    if link.role == "addend":
        return f'<g transform="translate({number(x - 5)} {number(y)})">{PLUS}</g>'
    if gates(link, target):
        return f'<circle class="tip" cx="{number(x - 4)}" cy="{number(y)}" r="4"/>'
    if target.kind == "line" or target.kind == "output":
        return f'<path class="tip" d="M{number(x)} {number(y)}l-7 -3.5v7z"/>'
    return ""


def _path(route: Route) -> str:
    start = " ".join(map(number, route[0][0]))
    rest = (" ".join(number(value) for point in cubic[1:] for value in point) for cubic in route)
    return f"M{start}" + "".join(f"C{piece}" for piece in rest)


def _beside(route: Route, text: str, router: Router) -> str:
    """The words of a link, at the first place along it that is free."""
    if not text:
        return ""
    points = list(samples(route))
    wide = text_width(text, 10)
    order = sorted(range(len(points)), key=lambda k: abs(k - len(points) / 2))
    free = [
        points[k]
        for k in order
        if router.is_free(points[k][0] - wide / 2, points[k][1] - 12, wide, 10)
    ]
    x, y = free[0] if free else points[order[0]]
    router.block(x - wide / 2, y - 12, wide, 10)
    return (
        f'<text class="faint halo small middle" x="{number(x)}" y="{number(y - 3)}">'
        f"{escape(text)}</text>"
    )
