"""A picture as the text of one SVG element, without ids or scripts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from nas_fpn.language.drawing.curves import (
    ARROWS,
    PLUS,
    beside,
    curves,
    resamplers,
    shared_words,
)
from nas_fpn.language.drawing.labels import escape, number, text_width
from nas_fpn.language.drawing.picture import Box, Frame, Picture
from nas_fpn.language.drawing.places import LINE, Places, Shape, arrange
from nas_fpn.language.drawing.style import hue, sign, style

__all__ = ["Entry", "svg"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a legend: a mark 18 px wide (SVG) of a class, and its text."""

    text: str
    mark: str = ""
    kind: str = "same"


def svg(picture: Picture, *, title: str, description: str, entries: Sequence[Entry]) -> str:
    """The element; ``entries`` stand in the legend behind what the picture itself calls for."""
    texts = beside(picture)
    places = arrange(picture, texts)
    legend, height = _legend((*_entries(picture), *entries), places)
    size = f'width="{number(places.width)}" height="{number(height)}"'
    box = f"{number(places.width)} {number(height)}"
    scope = f"neck{round(places.width)}"
    fits = (
        "max-width:100%;height:auto;container-type:inline-size;"
        f"aspect-ratio:{number(places.width)}/{number(height)}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="neck {scope}" role="img" {size} '
            f'viewBox="0 0 {box}" style="{fits}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{style(scope, places.width)}</style>",
            f'<rect class="paper" {size} rx="6"/>',
            *_rows(places),
            *(_frame(frame, places) for frame in picture.frames),
            *curves(picture, places, texts),
            *(_box(box, places) for box in picture.boxes),
            *legend,
            "</svg>\n",
        ]
    )


def _rows(places: Places) -> Iterator[str]:
    for level, y in places.ys.items():
        yield (
            f'<path class="row" d="M52 {number(y)}H{number(places.width - 8)}"/>'
            f'<text class="small" x="10" y="{number(y)}">level {level}</text>'
            f'<text class="faint small" x="10" y="{number(y + 11)}">stride {2**level}</text>'
            f'<text class="sign" x="10" y="{number(y + 8)}">{level}</text>'
        )


def _frame(frame: Frame, places: Places) -> str:
    left, right = places.xs[frame.first], places.xs[frame.last]
    if not frame.repeats:
        left, right = left - 40, right + 40
    inset = 0 if frame.repeats else 6
    top, bottom = places.top - 10 + inset, places.bottom + 2 - inset
    middle = (left + right) / 2
    back = f'<path class="back" d="M{number(middle - 8)} {number(bottom)}l10 -5v10z"/>'
    note = f"repeated {frame.text[1:]} times, each with new weights"
    kind = "repeat" if frame.repeats else "loose"
    return (
        f'<g class="{kind}{f" {frame.mark}" if frame.mark else ""}">'
        f"<title>{escape(note if frame.repeats else frame.text)}</title>"
        f'<rect class="frame" x="{number(left)}" y="{number(top)}" '
        f'width="{number(right - left)}" height="{number(bottom - top)}" rx="10"/>'
        f"{back if frame.repeats else ''}"
        + (
            f'<text class="times halo" x="{number(left + 10)}" y="{number(top + 18)}">'
            f"{escape(frame.text)}</text></g>"
            if frame.repeats
            else f"{_text(middle, bottom - 5, frame.text, 'name halo small')}</g>"
        )
    )


def _box(box: Box, places: Places) -> str:
    x, y = places.centre(box)
    shape = places.shapes[box.key]
    mark = f" {box.mark}" if box.mark else ""
    if box.kind in {"entry", "exit"}:
        circle = f'<circle class="port" cx="{number(x)}" cy="{number(y)}" r="3.5"/>'
        text = _text(x, y - shape.height / 2 - 4, shape.name, "name halo small")
        port = circle + (text if shape.name else "")
        return f'<g class="{box.mark}">{port}</g>' if mark else port
    round_ = min(shape.height / 2, 13) if box.merge else 3
    rect = (
        f'x="{number(x - shape.width / 2)}" y="{number(y - shape.height / 2)}" '
        f'width="{number(shape.width)}" height="{number(shape.height)}" '
        f'rx="{number(round_)}"'
    )
    fill = f' fill="{hue(box.merge)}" stroke="{hue(box.merge)}"' if box.merge else ""
    line = f" data-line={quoteattr(escape(box.key))}" if box.kind == "line" else ""
    kind = "small" if box.kind == "line" else "name small"
    inside = y + 4 - LINE * (len(shape.inside) - 1) / 2
    below = y + shape.height / 2 + 11
    parts = [
        f'<g class="node {box.kind}{" merge" if box.merge else ""}{mark}"{line}>',
        f"<title>{escape(box.text)}</title>",
        f'<rect class="paper" {rect}/>',
        f'<rect class="box{"" if box.merge else " plain"}" {rect}{fill}/>',
        *(_text(x, inside + LINE * k, word, kind) for k, word in enumerate(shape.inside)),
        *(_text(x, below + LINE * k, w, "faint halo small") for k, w in enumerate(shape.below)),
        _named(x, y, shape),
    ]
    if box.merge or box.kind in {"input", "output"}:
        parts.append(_text(x, y + 8, sign(box.merge) if box.merge else box.name, "sign"))
    return "".join([*parts, "</g>"])


def _named(x: float, y: float, shape: Shape) -> str:
    if not shape.name:
        return ""
    return _text(x, y - shape.height / 2 - 4, shape.name, "name halo small")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind} middle" x="{number(x)}" y="{number(y)}">{escape(text)}</text>'


def _entries(picture: Picture) -> Iterator[Entry]:
    """What the marks of this picture mean."""
    shared = shared_words(picture)
    for merge in dict.fromkeys(box.merge for box in picture.boxes if box.merge):
        blocks = {way: text for (of, way), text in shared.items() if of == merge}
        ways = {link.way[0] for link in picture.links if _into(picture, link.target) == merge}
        if len(set(blocks.values())) == 1 and len(blocks) == len(ways):
            said = f" of {next(iter(blocks.values()))}"
        else:
            arrows = (f"{ARROWS[way] or '→'} {blocks[way]}" for way in ARROWS if way in blocks)
            said = f" of {', '.join(arrows)}" if blocks else ""
        mark = f'<circle class="box" cx="8" r="7" fill="{hue(merge)}" stroke="{hue(merge)}"/>'
        yield Entry(merge + said, mark)
    for (direction, word), dash in resamplers(picture).items():
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        yield Entry(f"{ARROWS[direction]} {word}", f'<path d="M0 0H18"{dashes}/>', direction)
    if any(link.gates for link in picture.links):
        yield Entry("first operand", '<circle class="tip" cx="9" r="4"/>')
    if any(link.role == "addend" for link in picture.links):
        yield Entry("added", f'<g transform="translate(9)">{PLUS}</g>')
    if any(link.share is not None for link in picture.links):
        wedge = (
            '<path style="stroke-width:1" d="M0 -2H8"/><path style="stroke-width:5" d="M8 0H18"/>'
        )
        yield Entry("as thick as the operand weighs", wedge)
    if any(box.mark == "dead" for box in picture.boxes):
        box = '<rect class="box plain" x="1" y="-6" width="16" height="12" rx="3"/>'
        yield Entry("reaches no output", f'<g class="dead">{box}</g>')


def _into(picture: Picture, key: str) -> str:
    return next(box.merge for box in picture.boxes if box.key == key)


def _legend(entries: Sequence[Entry], places: Places) -> tuple[list[str], float]:
    """The entries in rows that fit the picture, and where they end."""
    parts: list[str] = []
    x, y = 12.0, places.bottom + 22
    for entry in entries:
        start = 24 if entry.mark else 0
        wide = start + text_width(entry.text, 10) + 16
        if x + wide > places.width and x > 12:
            x, y = 12.0, y + 18
        parts.append(
            f'<g class="link legend small {entry.kind}" '
            f'transform="translate({number(x)} {number(y)})">{entry.mark}'
            f'<text class="faint" x="{start}" y="3.5">{escape(entry.text)}</text></g>'
        )
        x += wide
    return parts, y + 16
