"""The links of a drawing as SVG: routed, coloured by direction, dashed by resampler."""

from collections import Counter
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import quoteattr

from nas_fpn.language.drawing.labels import escape, number, text_width
from nas_fpn.language.drawing.picture import Box, Link, Picture, Way
from nas_fpn.language.drawing.places import LINE, Places
from nas_fpn.language.drawing.route import Point, Route, Router

__all__ = ["ARROWS", "PLUS", "beside", "curves", "resamplers", "shared_words"]

ARROWS = {"up": "↑", "down": "↓", "same": ""}
PLUS = '<circle class="tip" r="5"/><path class="plus" d="M-3 0H3M0 -3V3"/>'
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2 1 2 1 2", "1 4")
_MANY = 3  # from so many operands with the same blocks on, the legend says them
_THIN, _THICK = 0.7, 7.0  # px, the line of an operand that weighs nothing, or alone


def curves(picture: Picture, places: Places, texts: Mapping[Link, str]) -> Iterator[str]:
    """One ``<g>`` for each link, in the order of the links, with its text of ``texts``."""
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
        start = places.side(source, 1, ends[i][1])
        routes[i] = router.route(start, ends[i], source=source.key)
    dashes = resamplers(picture)
    directions = Counter(direction for direction, _ in dashes)
    for i, link in enumerate(picture.links):
        direction, word = link.way
        text = texts.get(link, "")
        needed = bool(text)
        if directions[direction] > 1 and link.words:
            text = f"{text} {ARROWS[direction]}{word.partition('[')[0]}".strip()
        yield _curve(link, boxes, routes[i], dashes) + _beside(routes[i], text, needed, router)
        yield "</g>"


def resamplers(picture: Picture) -> dict[Way, str]:
    """Every resampler drawn, in order, with the dashes that tell it from the others."""
    found: dict[Way, str] = {}
    for link in picture.links:
        if link.way[0] != "same" and link.way[1] and link.way not in found:
            before = sum(direction == link.way[0] for direction, _ in found)
            found[link.way] = _DASHES[before % len(_DASHES)]
    return found


def shared_words(picture: Picture) -> dict[tuple[str, str], str]:
    """By merge and direction: the blocks that all its operands have, if there are some such."""
    boxes = {box.key: box for box in picture.boxes}
    found: dict[tuple[str, str], Counter[str]] = {}
    for link in picture.links:
        merge = boxes[link.target].merge
        if merge and link.role == "operand":
            found.setdefault((merge, link.way[0]), Counter())[" ".join(link.own)] += 1
    return {
        key: text
        for key, counts in found.items()
        for text, count in counts.items()
        if len(counts) == 1 and text and count >= _MANY
    }


def beside(picture: Picture) -> dict[Link, str]:
    """What stands beside links: their own blocks in brief, unless the legend says them."""
    boxes = {box.key: box for box in picture.boxes}
    shared = shared_words(picture)
    return {
        link: " ".join(link.own)
        for link in picture.links
        if link.own and (boxes[link.target].merge, link.way[0]) not in shared
    }


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


def _ends(links: tuple[Link, ...], boxes: dict[str, Box], places: Places) -> list[Point]:
    """Where each link arrives: coarser above, finer below, the nearest of its level between."""
    ends = [(0.0, 0.0)] * len(links)
    for key, box in boxes.items():
        half = min(places.shapes[key].height / 2, 13.0 if box.merge else 99.0)
        sources = {i: boxes[link.source] for i, link in enumerate(links) if link.target == key}
        order = sorted(sources, key=lambda i: (places.centre(sources[i])[1], sources[i].column))
        same = [k for k, i in enumerate(order) if sources[i].level == box.level]
        middle = same[-1] if same else (len(order) - 1) / 2
        step = min(8.0, (half - 3) / max(1, middle, len(order) - 1 - middle))
        sides = {i: places.side(box, -1, places.centre(sources[i])[1]) for i in order}
        for k, i in enumerate(order):
            x, y = sides[i]
            down = step * (k - middle)
            if box.lowest is not None:  # a tall box has room: only those of one height share it
                near = [j for j in order if sides[j][1] == y]
                down = 8.0 * (near.index(i) - (len(near) - 1) / 2)
            inset = half - (half * half - down * down) ** 0.5 if box.merge else 0.0
            ends[i] = x + inset, y + down
    return ends


def _curve(link: Link, boxes: dict[str, Box], route: Route, dashes: dict[Way, str]) -> str:
    source, target = boxes[link.source], boxes[link.target]
    direction, word = link.way
    style = f' stroke-dasharray="{dashes[link.way]}"' if dashes.get(link.way) else ""
    data = f" data-resampler={quoteattr(escape(word))}" if word else ""
    note = f"{source.name} → {' '.join((*link.words, target.name))}"
    if link.weights:
        weights = ", ".join(f"{weight:.3g}" for weight in link.weights)
        note += f"\nweight {weights}"
        data += f' data-weight="{weights}"'
    if link.share is not None:
        thick = _THIN + (_THICK - _THIN) * link.share
        style += f' style="stroke-width:{number(thick)}"'
    return (
        f'<g class="link {direction} {link.role}{f" {link.mark}" if link.mark else ""}"{data}>'
        f'<title>{escape(note)}</title><path d="{_path(route)}"{style}/>'
        f"{_tip(link, target, route[-1][-1])}"
    )


def _tip(link: Link, target: Box, end: Point) -> str:
    """An arrowhead; a dot for an operand that gates; a plus for an addend; none at a port."""
    x, y = end
    if link.role == "addend":
        return f'<g transform="translate({number(x - 5)} {number(y)})">{PLUS}</g>'
    if link.gates:
        return f'<circle class="tip" cx="{number(x - 4)}" cy="{number(y)}" r="4"/>'
    if target.kind == "line" or target.kind == "output":
        return f'<path class="tip" d="M{number(x)} {number(y)}l-7 -3.5v7z"/>'
    return ""


def _path(route: Route) -> str:
    start = " ".join(map(number, route[0][0]))
    rest = (" ".join(number(value) for point in cubic[1:] for value in point) for cubic in route)
    return f"M{start}" + "".join(f"C{piece}" for piece in rest)


def _beside(route: Route, text: str, needed: bool, router: Router) -> str:
    """The words of a link at the best place along it; what is not needed only where it fits."""
    if not text:
        return ""
    wide = text_width(text, 10) + 4
    x, y, is_free = router.text_place(route, wide)
    if not (needed or is_free):
        return ""
    router.block(x - wide / 2, y, wide, 10)
    return (
        f'<text class="faint halo small middle" x="{number(x)}" y="{number(y + 9)}">'
        f"{escape(text)}</text>"
    )
