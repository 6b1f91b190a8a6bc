"""Plots of the report as SVG elements: points, lines and steps over two axes.

Small, so that three stand beside one another on a desk and one fills a phone. Colours are classes
of the page's style sheet; ``data-trial`` is what the page's script shows on hover, and marks that
matter are links, so that they are reached by keyboard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_fpn.report.axis import Axis
from nas_fpn.report.markup import Markup, join, tag

__all__ = ["Line", "Point", "Rule", "plot"]

WIDTH, HEIGHT = 400, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 24, 40
LETTER, ROW = 6.4, 12.0  # px of a letter and of a row of text


@dataclass(frozen=True, slots=True)
class Point:
    """A trial at a place. ``kind`` are its classes; a ``name`` is written beside it."""

    x: float
    y: float
    kind: str
    trial: str
    title: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Places joined: straight, or held until the next (``steps``)."""

    places: tuple[tuple[float, float], ...]
    kind: str
    name: str = ""
    trial: str | None = None
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A height across the whole plot, by name."""

    y: float
    kind: str
    name: str


def plot(
    label: str,
    across: str,
    up: str,
    *,
    points: Sequence[Point] = (),
    lines: Sequence[Line] = (),
    rules: Sequence[Rule] = (),
) -> Markup:
    """One SVG element; ``label`` says to those who do not see it what is there.

    Needs one point or place at least. Lines lie below points, in the order given.
    """
    places = [place for line in lines for place in line.places]
    xs = Axis([*(point.x for point in points), *(x for x, _ in places)], floor=0)
    ys = Axis(
        [*(point.y for point in points), *(y for _, y in places), *(rule.y for rule in rules)],
        floor=0,
    )
    counts = all(float(x).is_integer() for x in [*(p.x for p in points), *(x for x, _ in places)])
    sheet = _Sheet(xs, ys, whole=counts)
    legend = [(line.kind, line.name, "") for line in lines if line.name]
    legend += [(rule.kind, rule.name, "dashed") for rule in rules]
    below = HEIGHT + 16 * len(legend)
    return tag(
        "svg",
        {"class": "plot", "viewBox": f"0 0 {WIDTH} {below}", "role": "group", "aria-label": label},
        tag("g", {"aria-hidden": "true"}, sheet.grid(across, up)),
        (sheet.rule(rule) for rule in rules),
        (sheet.line(line) for line in lines),
        (sheet.point(point) for point in points),
        sheet.names(points),
        (_key(HEIGHT + 16 * k, *entry) for k, entry in enumerate(legend)),
    )


class _Sheet:
    """The two axes of one plot, and marks placed by them."""

    def __init__(self, xs: Axis, ys: Axis, *, whole: bool) -> None:
        self.xs, self.ys, self.whole = xs, ys, whole

    def x(self, value: float) -> float:
        return LEFT + self.xs.part(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.ys.part(value) * (HEIGHT - TOP - BOTTOM)

    def grid(self, across: str, up: str) -> list[Markup]:
        """Ticks, their numbers, and what the axes are."""
        parts = []
        for tick in self.xs.ticks(8):
            if self.whole and not tick.is_integer():
                continue
            x = self.x(tick)
            parts.append(_path("grid", f"M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"))
            parts.append(_text(x, HEIGHT - BOTTOM + 15, f"{tick:g}", "middle"))
        for tick in self.ys.ticks(8):
            y = self.y(tick)
            parts.append(_path("grid", f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}"))
            parts.append(_text(LEFT - 6, y + 4, f"{tick:g}", "end"))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle"))
        parts.append(_text(6, 13, up, "start"))
        return parts

    def rule(self, rule: Rule) -> Markup:
        return _path(f"dashed {rule.kind}", f"M{LEFT} {self.y(rule.y):.1f}H{WIDTH - RIGHT}")

    def line(self, line: Line) -> Markup:
        path, last = [], 0.0
        for k, place in enumerate(line.places):
            x, y = self.x(place[0]), self.y(place[1])
            if k and line.steps:
                path.append(f"H{x:.1f}")
                if y != last:
                    path.append(f"V{y:.1f}")
            else:
                path.append(f"{'L' if k else 'M'}{x:.1f} {y:.1f}")
            last = y
        return tag("path", {"class": line.kind, "d": "".join(path), "data-trial": line.trial})

    def point(self, point: Point) -> Markup:
        x, y = self.x(point.x), self.y(point.y)
        if "control" in point.kind:
            side = {"x": x - 4, "y": y - 4, "width": 8, "height": 8}
            mark = tag("rect", {"class": point.kind, "data-trial": point.trial, **side})
        else:
            place = {"cx": x, "cy": y, "r": 5 if "winner" in point.kind else 3}
            mark = tag("circle", {"class": point.kind, "data-trial": point.trial, **place})
        if not point.name and "best" not in point.kind:
            return mark
        return tag("a", {"href": f"#{point.trial}", "aria-label": point.title}, mark)

    def names(self, points: Sequence[Point]) -> list[Markup]:
        """The names of points, none upon another: each a little off where one stands already."""
        taken: list[tuple[float, float, float]] = []  # left, right, baseline
        parts = []
        for point in points:
            if not point.name:
                continue
            name = _cut(point.name, 24)
            wide = LETTER * len(name)
            x, y = self.x(point.x), self.y(point.y)
            end = x + 8 + wide > WIDTH
            left = x - 8 - wide if end else x + 8
            free = next(
                (y + 4 + shift)
                for k in range(len(taken) + 1)
                for shift in (k * ROW, -k * ROW)
                if not any(
                    left < right and begin < left + wide and abs(y + 4 + shift - base) < ROW
                    for begin, right, base in taken
                )
            )
            taken.append((left, left + wide, free))
            parts.append(_text(x - 8 if end else x + 8, free, name, "end" if end else "start"))
        return parts


def _key(y: float, kind: str, name: str, dashed: str) -> Markup:
    """A row of the legend."""
    mark = _path(f"{dashed} {kind}".strip(), f"M{LEFT} {y + 4:.1f}h24")
    return join(mark, _text(LEFT + 32, y + 8, _cut(name, 48), "start"))


def _cut(text: str, letters: int) -> str:
    """Text that has room; what is cut off stands in full elsewhere in the page."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _path(kind: str, d: str) -> Markup:
    return tag("path", {"class": kind, "d": d})


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return tag("text", {"x": float(x), "y": float(y), "text-anchor": anchor}, text)
