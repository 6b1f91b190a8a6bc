"""Lines in panels, as SVG: what the benchmarks' pages show beside their tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Panel", "draw_panels"]

WIDTH, HEIGHT, GAP, TOP, LEFT, BOTTOM = 300, 220, 24, 30, 56, 40
COLOURS = ("#888888", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#1f78b4")


@dataclass(frozen=True, slots=True)
class Panel:
    """A title, and by label the values at 1, 2, 3 and so on."""

    title: str
    lines: Mapping[str, Sequence[float]]


def draw_panels(panels: Sequence[Panel], *, across: str, up: str) -> str:
    """Panels side by side with one scale, logarithmic upwards, and a legend below.

    What is below a 200th of the largest value, 0 too, lies on the floor.
    """
    values = [v for panel in panels for line in panel.lines.values() for v in line if v > 0]
    low, high = math.log10(max(min(values), max(values) / 200)), math.log10(max(values))
    count = max(len(line) for panel in panels for line in panel.lines.values())
    labels = list(panels[0].lines)
    wide = LEFT + len(panels) * (WIDTH + GAP)
    high_px = TOP + HEIGHT + BOTTOM + 18 * -(-len(labels) // 4) + 8

    def place(number: int, value: float, left: float) -> str:
        part = (math.log10(max(value, 10**low)) - low) / max(high - low, 1e-9)
        x, y = left + WIDTH * number / count, TOP + HEIGHT * (1 - part)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high_px}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{wide}" height="{high_px}" fill="white"/>',
        f'<text x="14" y="{TOP + HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {TOP + HEIGHT / 2})">{escape(up)}</text>',
    ]
    for at, panel in enumerate(panels):
        left = LEFT + at * (WIDTH + GAP)
        parts += [
            f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" '
            'stroke="#cccccc"/>',
            f'<text x="{left + WIDTH / 2}" y="{TOP - 10}" text-anchor="middle" '
            f'font-weight="bold">{escape(panel.title)}</text>',
            f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 30}" text-anchor="middle">'
            f"{escape(across)}</text>",
        ]
        for number in range(0, count + 1, max(round(count / 6 / 5) * 5, 1)):
            x = left + WIDTH * number / count
            parts.append(
                f'<text x="{x:.1f}" y="{TOP + HEIGHT + 14}" text-anchor="middle">{number}</text>'
            )
        for value in _ticks(low, high):
            y = float(place(0, value, left).split(",")[1])
            parts.append(
                f'<line x1="{left}" x2="{left + WIDTH}" y1="{y}" y2="{y}" stroke="#eeeeee"/>'
            )
            if at == 0:
                parts.append(
                    f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
                )
        for label, line in panel.lines.items():
            points = " ".join(place(number, v, left) for number, v in enumerate(line, start=1))
            colour = COLOURS[labels.index(label) % len(COLOURS)]
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            )
    for at, label in enumerate(labels):
        x, y = LEFT + (at % 4) * 220, TOP + HEIGHT + BOTTOM + 14 + 18 * (at // 4)
        colour = COLOURS[at % len(COLOURS)]
        parts += [
            f'<line x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" '
            'stroke-width="2"/>',
            f'<text x="{x + 28}" y="{y}">{escape(label)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _ticks(low: float, high: float) -> list[float]:
    every = [
        one * 10.0**power for power in range(math.floor(low), math.ceil(high)) for one in (1, 2, 5)
    ]
    return [value for value in every if low <= math.log10(value) <= high]
