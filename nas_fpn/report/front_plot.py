"""The front as a picture: the first objective against the second, baselines by name."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from nas_fpn.record import Entry
from nas_fpn.report.axis import Axis
from nas_fpn.report.front import front

__all__ = ["draw_front", "name_of"]

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 52

_STYLE = """
.front{color:#1f2328;font:12px system-ui,sans-serif}
.front text{fill:currentColor}
.front .paper{fill:#fff}
.front .grid{stroke:currentColor;stroke-opacity:.15}
.front .edge{fill:none;stroke:#0072b2;stroke-width:1.5}
.front .found{fill:#0072b2}
.front .control{fill:#d55e00}
.front .behind{fill-opacity:.3}
.front .halo{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
.front .end{text-anchor:end}
.front .middle{text-anchor:middle}
@media (prefers-color-scheme:dark){
.front{color:#e6edf3}
.front .paper{fill:#0d1117}
.front .halo{stroke:#0d1117}
.front .edge{stroke:#56b4e9}
.front .found{fill:#56b4e9}
}
"""


def draw_front(entries: Sequence[Entry], objectives: Sequence[str]) -> str:
    """Every complete trial by its first two objectives, the front joined, as one SVG element.

    A cost ("-latency_ms") is drawn as it is measured: cheap on the left. Baselines are squares,
    found necks circles; what the front leaves behind is pale. Needs two objectives at least and
    one complete trial.
    """
    up, across = objectives[0].removeprefix("-"), objectives[1].removeprefix("-")
    best = [entry.number for entry in front(entries, objectives)]
    points = [
        (entry, entry.outcome.scores[across], entry.outcome.scores[up])
        for entry in entries
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and {up, across} <= entry.outcome.scores.keys()
    ]
    xs, ys = Axis([x for _, x, _ in points]), Axis([y for _, _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + xs.part(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - ys.part(y) * (HEIGHT - TOP - BOTTOM),
        )

    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="front" role="img" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:100%;height:auto">',
        f"<title>{escape(up)} against {escape(across)}</title>",
        f"<desc>{len(points)} necks, of which {len(best)} are on the front</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
    ]
    for tick in xs.ticks():
        x, _ = place(tick, ys.low)
        rows.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        rows.append(f'<text class="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">{tick:g}</text>')
    for tick in ys.ticks():
        _, y = place(xs.low, tick)
        rows.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        rows.append(f'<text class="end" x="{LEFT - 8}" y="{y + 4:.1f}">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    rows.append(f'<text class="middle" x="{middle}" y="{HEIGHT - 12}">{escape(across)}</text>')
    rows.append(f'<text x="12" y="16">{escape(up)}</text>')
    joined = sorted(place(x, y) for entry, x, y in points if entry.number in best)
    rows.append(f'<path class="edge" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in joined)}"/>')
    for entry, x, y in sorted(points, key=lambda one: one[0].number in best):
        is_best = entry.number in best
        rows.append(
            _point(entry, *place(x, y), is_best=is_best, said=f"{up} {y:g}, {across} {x:g}")
        )
    return "\n".join([*rows, "</svg>\n"])


def name_of(entry: Entry) -> str:
    """A baseline's name, or the id of a neck that was found."""
    return entry.source.removeprefix("baseline:") if entry.is_baseline else entry.neck


def _point(entry: Entry, x: float, y: float, *, is_best: bool, said: str) -> str:
    kind = ("control" if entry.is_baseline else "found") + ("" if is_best else " behind")
    mark = (
        f'<rect class="{kind}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        if entry.is_baseline
        else f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    )
    name = escape(name_of(entry))
    side = ' class="halo end"' if x > WIDTH - 110 else ' class="halo"'
    shift = -8 if x > WIDTH - 110 else 8
    label = f'<text{side} x="{x + shift:.1f}" y="{y - 6:.1f}">{name}</text>'
    hover = f"<title>trial {entry.number}, {name}: {escape(said)}</title>"
    return f"<g>{hover}{mark}{label if is_best or entry.is_baseline else ''}</g>"
