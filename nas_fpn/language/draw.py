"""A neck as a picture: levels as rows, coarse on top, time to the right, merges as nodes.

Follows the figures of the literature (FPN, PANet, BiFPN, NAS-FPN): what enters from the backbone
stands left, the pyramid that leaves stands right. A curve that changes level is coloured by its
direction and dashed by its resampler; a repeat is drawn once, in a frame that says how often.
The text is one SVG element without ids or scripts, so that several can stand in one page; it
follows the reader's light or dark scheme, and trades its small print for signs where it is shown
much smaller than it is.
"""

from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from nas_fpn.language.drawing.curves import ARROWS, PLUS, curves, gates, resamplers
from nas_fpn.language.drawing.fold import Box, Frame, Picture, fold
from nas_fpn.language.drawing.places import (
    LINE,
    Places,
    Shape,
    arrange,
    escape,
    label,
    number,
    text_width,
    words,
)
from nas_fpn.language.drawing.terminal import draw_text
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture

__all__ = ["draw", "draw_text"]

# Hues that stay apart in both schemes and for the colour-blind (after Okabe and Ito).
_HUES = {
    "sum": "#0072b2",
    "mean": "#56b4e9",
    "max": "#009e73",
    "fast": "#d55e00",
    "softmax": "#cc79a7",
    "weighted": "#b8860b",
    "gp": "#8e44ad",
    "concat": "#7f8c1f",
}
_OTHER_HUE = "#808080"
_SIGNS = {"sum": "+", "mean": "μ", "max": "M", "gp": "G", "concat": "∥"}

_STYLE = """
.neck{color:#1f2328;font:11px system-ui,sans-serif}
.neck text{fill:currentColor}
.neck .paper{fill:#fff}
.neck .halo{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
.neck .name,.neck .times{font-weight:600}
.neck .times{font-size:14px}
.neck .faint{font-size:10px;fill-opacity:.75}
.neck .middle{text-anchor:middle}
.neck .box{fill-opacity:.16;stroke-width:1.5}
.neck .plain{fill:#8a8f98;stroke:#8a8f98}
.neck .port{fill:#8a8f98}
.neck .row{stroke:currentColor;stroke-opacity:.12}
.neck .frame{fill:currentColor;fill-opacity:.03;stroke:currentColor;stroke-opacity:.5}
.neck .back{fill:currentColor;fill-opacity:.7}
.neck .link path{fill:none;stroke-width:1.5}
.neck .same path{stroke:#8a8f98}
.neck .up path{stroke:#c2410c}
.neck .down path{stroke:#1d6fd1}
.neck .same .tip{fill:#8a8f98}
.neck .up .tip{fill:#c2410c}
.neck .down .tip{fill:#1d6fd1}
.neck .link .tip{stroke:none}
.neck .link .plus{stroke:#fff}
.neck .sign{display:none;font-size:22px;font-weight:700}
@media (prefers-color-scheme:dark){
.neck{color:#e6edf3}
.neck .paper{fill:#0d1117}
.neck .halo{stroke:#0d1117}
.neck .box{fill-opacity:.4}
.neck .up path{stroke:#fb923c}
.neck .up .tip{fill:#fb923c}
.neck .down path{stroke:#6cb2ff}
.neck .down .tip{fill:#6cb2ff}
}
@media (max-width:%dpx){
.neck .small{display:none}
.neck .sign{display:inline}
.neck .link path,.neck .box{stroke-width:3}
.neck .times{font-size:22px}
}
"""


def draw(architecture: Architecture) -> str:
    """The picture of a neck as the text of one SVG element; equal necks give equal bytes."""
    picture = fold(lower(architecture))
    places = arrange(picture, architecture)
    legend, height = _legend(picture, places, architecture)
    size = f'width="{number(places.width)}" height="{number(height)}"'
    title = architecture.doc.partition("\n")[0].strip() or "A feature-pyramid neck"
    program = "; ".join(box.node.text.strip() for box in picture.boxes if box.node)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="neck" role="img" {size} '
            f'viewBox="0 0 {number(places.width)} {number(height)}" '
            'style="max-width:100%;height:auto">',
            f"<title>{escape(title)}</title>",
            f"<desc>Levels are rows, coarse on top; time runs right. {escape(program)}</desc>",
            f"<style>{_STYLE % (0.6 * places.width)}</style>",
            f'<rect class="paper" {size} rx="6"/>',
            *_rows(places),
            *(_frame(frame, places) for frame in picture.frames),
            *curves(picture, places),
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
    top, bottom = places.top - 10, places.bottom + 2
    middle = (left + right) / 2
    return (
        f'<g class="repeat"><title>repeated {frame.count} times, each with new weights</title>'
        f'<rect class="frame" x="{number(left)}" y="{number(top)}" '
        f'width="{number(right - left)}" height="{number(bottom - top)}" rx="10"/>'
        f'<path class="back" d="M{number(middle - 8)} {number(bottom)}l10 -5v10z"/>'
        f'<text class="times halo" x="{number(left + 10)}" y="{number(top + 18)}">'
        f"×{frame.count}</text></g>"
    )


def _box(box: Box, places: Places) -> str:
    x, y = places.centre(box)
    shape = places.shapes[box.key]
    node = box.node
    if box.kind in {"entry", "exit"}:
        circle = f'<circle class="port" cx="{number(x)}" cy="{number(y)}" r="3.5"/>'
        return circle + _name(x, y, shape)
    merge = node.merge if node else None
    hue = _HUES.get(merge.name, _OTHER_HUE) if merge else ""
    rect = (
        f'x="{number(x - shape.width / 2)}" y="{number(y - shape.height / 2)}" '
        f'width="{number(shape.width)}" height="{number(shape.height)}" '
        f'rx="{number(shape.height / 2 if merge else 3)}"'
    )
    kind = "small" if node else "name small"
    inside = y + 4 - LINE * (len(shape.inside) - 1) / 2
    below = y + shape.height / 2 + 11
    parts = [
        f'<g class="node {box.kind}"'
        + (f" data-line={quoteattr(box.key)}>" if node else ">")
        + f"<title>{escape(node.text.strip() if node else f'{box.kind} {box.name}')}</title>",
        f'<rect class="paper" {rect}/>',
        f'<rect class="box{"" if merge else " plain"}" {rect}'
        + (f' fill="{hue}" stroke="{hue}"/>' if merge else "/>"),
        *(_text(x, inside + LINE * k, word, kind) for k, word in enumerate(shape.inside)),
        *(_text(x, below + LINE * k, w, "faint halo small") for k, w in enumerate(shape.below)),
        _name(x, y, shape),
    ]
    if merge or not node:
        sign = _SIGNS.get(merge.name, merge.name[0].upper()) if merge else box.name
        parts.append(_text(x, y + 8, sign, "sign"))
    return "".join([*parts, "</g>"])


def _name(x: float, y: float, shape: Shape) -> str:
    if not shape.name:
        return ""
    return _text(x, y - shape.height / 2 - 4, shape.name, "name halo small")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind} middle" x="{number(x)}" y="{number(y)}">{escape(text)}</text>'


def _legend(
    picture: Picture, places: Places, architecture: Architecture
) -> tuple[list[str], float]:
    """What the marks mean, in rows that fit the picture, and where they end."""
    entries: list[tuple[str, str]] = []
    merges = {label(n.merge): n.merge.name for b in picture.boxes if (n := b.node) and n.merge}
    for text, name in merges.items():
        hue = _HUES.get(name, _OTHER_HUE)
        entries.append((f'<circle class="box" cx="8" r="7" fill="{hue}" stroke="{hue}"/>', text))
    for (way, word), dash in resamplers(picture).items():
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        entries.append((f'<path d="M0 0H18"{dashes}/>', f"{ARROWS[way]} {word}"))
    boxes = {box.key: box for box in picture.boxes}
    if any(gates(link, boxes[link.target]) for link in picture.links):
        entries.append(('<circle class="tip" cx="9" r="4"/>', "first operand"))
    if any(link.role == "addend" for link in picture.links):
        entries.append((f'<g transform="translate(9)">{PLUS}</g>', "added"))
    then = words(architecture.then)
    if then and merges:
        entries.append(("", f"merges end with {' '.join(then)}"))
    entries.append(("", f"width {architecture.width}"))
    parts: list[str] = []
    x, y = 12.0, places.bottom + 22
    for mark, text in entries:
        wide = (24 if mark else 0) + text_width(text, 10) + 16
        if x + wide > places.width and x > 12:
            x, y = 12.0, y + 18
        kind = "same" if "tip" in mark else "up" if "↑" in text else "down"
        parts.append(
            f'<g class="link legend small {kind}" transform="translate({number(x)} {number(y)})">'
            f'{mark}<text class="faint" x="{24 if mark else 0}" y="3.5">{escape(text)}</text></g>'
        )
        x += wide
    return parts, y + 16
