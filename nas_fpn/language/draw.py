"""A neck as a picture: levels as rows, coarse on top, time to the right, merges as nodes.

Follows the figures of the literature (FPN, PANet, BiFPN, NAS-FPN): what enters from the backbone
stands left, the pyramid that leaves stands right. A curve that changes level is coloured by its
direction and dashed by its resampler; a repeat is drawn once, in a frame that says how often.
The text is one SVG element without ids or scripts, so that several can stand in one page; it
follows the reader's light or dark scheme, and drops its small print below 480 px.
"""

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from nas_fpn.language.fold import Box, Frame, Link, Picture, fold
from nas_fpn.language.graph import Op
from nas_fpn.language.lower import lower
from nas_fpn.language.places import LINE, Places, Shape, arrange, label, text_width, words
from nas_fpn.language.program import Architecture
from nas_fpn.language.route import Point, Route, Router, samples
from nas_fpn.language.words import WORDS

__all__ = ["draw"]

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
_SIGNS = {"sum": "+", "mean": "μ", "max": "∨", "gp": "G", "concat": "∥"}
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2 1 2 1 2", "1 4")

_STYLE = """
.neck{color:#1f2328;font:11px system-ui,sans-serif}
.neck text{fill:currentColor}
.neck .paper{fill:#fff}
.neck .halo{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
.neck .name,.neck .end,.neck .times{font-weight:600}
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
.neck .link .tip{stroke:none}
.neck .same .tip{fill:#8a8f98}
.neck .up .tip{fill:#c2410c}
.neck .down .tip{fill:#1d6fd1}
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
@media (max-width:480px){
.neck .small{display:none}
.neck .sign{display:inline}
.neck .link path,.neck .box{stroke-width:3}
.neck .link .tip{stroke:none}
.neck .end,.neck .times,.neck .level{font-size:22px}
}
"""

_Style = tuple[str, str]  # up, down or same; the words of the resampler


def draw(architecture: Architecture) -> str:
    """The picture of a neck as the text of one SVG element; equal necks give equal bytes."""
    picture = fold(lower(architecture))
    places = arrange(picture, architecture)
    boxes = {box.key: box for box in picture.boxes}
    styles = {id(link): _style(link, boxes) for link in picture.links}
    dashes = _dashes(list(styles.values()))
    body = [
        *_rows(places),
        *(_frame(frame, places) for frame in picture.frames),
        *_links(picture, places),
        *(_box(box, places) for box in picture.boxes),
    ]
    legend, height = _legend(picture, places, architecture)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="neck" role="img" '
            f'viewBox="0 0 {_n(places.width)} {_n(height)}" width="{_n(places.width)}" '
            f'height="{_n(height)}" style="max-width:100%;height:auto">',
            f"<title>{_escape(_title(architecture))}</title>",
            f"<desc>{_escape(_description(picture))}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{_n(places.width)}" height="{_n(height)}" rx="6"/>',
            *body,
            *legend,
            "</svg>\n",
        ]
    )
