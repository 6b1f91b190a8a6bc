"""How a drawing looks: one style sheet for all, colours, and what is left where it is shown small.

Text leaves where the picture is shown much smaller than it is, and signs take its place: the
picture asks for its own width, not that of the page, so that several can stand in one page.
"""

from nas_fpn.language.drawing.labels import number

__all__ = ["OTHER_HUE", "hue", "sign", "style"]

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
    "asff": "#c2255c",
    "psum": "#8d5524",
    "cat": "#0c8599",
    "dyhead": "#4263eb",
}
OTHER_HUE = "#808080"
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
.neck .loose .frame{stroke-dasharray:5 4}
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
.neck .dead{opacity:.35}
.neck .open .box,.neck .box.open{stroke-dasharray:4 3}
.neck .open path{stroke-dasharray:4 3}
.neck .common{opacity:.5}
.neck .first path{stroke:#c2410c;stroke-width:2;stroke-dasharray:7 4}
.neck .second path{stroke:#1d6fd1;stroke-width:2.5;stroke-dasharray:none}
.neck .first .tip,.neck .first .port{fill:#c2410c;stroke:none}
.neck .second .tip,.neck .second .port{fill:#1d6fd1;stroke:none}
.neck .first .box,.neck .box.first{fill:#c2410c;stroke:#c2410c;stroke-width:2;stroke-dasharray:7 4}
.neck .second .box,.neck .box.second{fill:#1d6fd1;stroke:#1d6fd1;stroke-width:2.5}
.neck .changed .box,.neck .box.changed{fill:#8250df;stroke:#8250df;stroke-width:2.5}
.neck .first .frame{stroke:#c2410c;stroke-dasharray:7 4}
.neck .second .frame{stroke:#1d6fd1}
@media (prefers-color-scheme:dark){
.neck{color:#e6edf3}
.neck .paper{fill:#0d1117}
.neck .halo{stroke:#0d1117}
.neck .box{fill-opacity:.4}
.neck .up path,.neck .first path,.neck .first .box,.neck .first .frame{stroke:#fb923c}
.neck .up .tip,.neck .first .tip,.neck .first .port{fill:#fb923c}
.neck .down path,.neck .second path,.neck .second .box,.neck .second .frame{stroke:#6cb2ff}
.neck .down .tip,.neck .second .tip,.neck .second .port{fill:#6cb2ff}
.neck .changed .box{stroke:#c297ff}
}
"""
_SMALL = """@container (max-width:{small}px){{
{of} .small{{display:none}}
{of} .sign{{display:inline}}
{of} .link path,{of} .box{{stroke-width:3}}
{of} .times{{font-size:22px}}
}}
@container (max-width:{tiny}px){{
{of} .link path:not([style]),{of} .box{{vector-effect:non-scaling-stroke;stroke-width:1.2px}}
{of} .merge{{transform-box:fill-box;transform-origin:center;transform:scale(1.5)}}
{of} .times{{font-size:26px}}
}}
"""


def style(scope: str, width: float) -> str:
    """The style sheet of a picture ``width`` pixels wide whose element has the class ``scope``."""
    small = _SMALL.format(of=f".{scope}", small=number(0.7 * width), tiny=number(0.33 * width))
    return _STYLE + small


def hue(merge: str) -> str:
    """The colour of a merge, arguments or not; grey for words of users."""
    return _HUES.get(merge.partition("[")[0], OTHER_HUE)


def sign(merge: str) -> str:
    """One letter for a merge, ``?`` for one that is open."""
    if "{" in merge:
        return "?"
    name = merge.partition("[")[0]
    return _SIGNS.get(name, name[0].upper())
