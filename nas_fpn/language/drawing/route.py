"""Curves between boxes that keep clear of other boxes, of text and of one another.

Every link gets a few candidates: the direct curve, and curves that run along a lane between two
rows. The cheapest stays. Nothing is searched further: a neck has tens of links.
"""

from collections.abc import Iterable, Iterator
from math import inf

__all__ = ["Point", "Route", "Router"]

Point = tuple[float, float]
Cubic = tuple[Point, Point, Point, Point]
Route = tuple[Cubic, ...]

_CELL = 3.0  # px; the picture is looked at through a grid of such cells
_STEP = 5.0  # px between the samples of a curve
_BOX, _NEAR, _LANE = 60.0, 6.0, 30.0  # costs: a sample in a box, near another curve; a lane
_ROW = 20.0  # px; closer heights are of one row
_LANES = 9  # of all lanes, how many of the nearest are tried
_Cell = tuple[int, int]


class Router:
    """Remembers what is taken, curve after curve."""

    def __init__(self, lanes: Iterable[float]) -> None:
        self._lanes = tuple(lanes)
        self._cost: dict[_Cell, float] = {}
        self._drawn: dict[_Cell, set[str]] = {}

    def block(self, x: float, y: float, width: float, height: float) -> None:
        """Keep curves out of a rectangle given by its upper left corner."""
        for column in range(int(x // _CELL), int((x + width) // _CELL) + 1):
            for row in range(int(y // _CELL), int((y + height) // _CELL) + 1):
                cell = column, row
                self._cost[cell] = _BOX

    def text_place(self, route: Route, width: float) -> tuple[float, float, bool]:
        """Where ``width`` pixels of text stand best by a route: x, top, whether in the open."""
        points = list(samples(route))
        middle = len(points) / 2
        best = min(
            (
                (self._crowd(x - width / 2, y + above, width), abs(k - middle), x, y + above)
                for k, (x, y) in enumerate(points)
                for above in (-12.0, 3.0)
            ),
            key=lambda place: (place[0] + 0.5 * place[1], *place[1:]),
        )
        crowd, _, x, y = best
        return x, y, crowd < _BOX

    def _crowd(self, x: float, y: float, width: float) -> float:
        """What a text of one line would cover there."""
        crowd = 0.0
        for column in range(int(x // _CELL), int((x + width) // _CELL) + 1):
            for row in range(int(y // _CELL), int((y + 10) // _CELL) + 1):
                cell = column, row
                crowd += self._cost.get(cell, 0.0) + len(self._drawn.get(cell, ()))
        return crowd

    def route(self, start: Point, end: Point, *, source: str) -> Route:
        """The cheapest curve; those of one ``source`` may run together."""
        best: Route = ()
        least = inf
        for route in self._candidates(start, end):
            price = self._price(route, source, least)
            if price < least:
                best, least = route, price
        for point in samples(best):
            self._drawn.setdefault(_cell(point), set()).add(source)
        return best

    def _candidates(self, start: Point, end: Point) -> Iterator[Route]:
        (x0, y0), (x1, y1) = start, end
        reach = max(10.0, (x1 - x0) / 2)
        for bend in (min(reach, 70.0), min(reach, 30.0)):
            yield ((start, (x0 + bend, y0), (x1 - bend, y1), end),)
        if x1 - x0 < 60:
            return
        middle, most = (y0 + y1) / 2, (x1 - x0) / 2 - 2
        lanes = [lane for lane in self._lanes if _fits(lane, y0, y1)]
        for lane in sorted(lanes, key=lambda lane: abs(lane - middle))[:_LANES]:
            for steep in (0.0, 0.7):
                left = min(max(24.0, steep * abs(lane - y0)), most)
                right = min(max(24.0, steep * abs(lane - y1)), most)
                a, b = (x0 + left, lane), (x1 - right, lane)
                yield (
                    (start, (x0 + 0.6 * left, y0), (x0 + 0.4 * left, lane), a),
                    (a, a, b, b),
                    (b, (x1 - 0.4 * right, lane), (x1 - 0.6 * right, y1), end),
                )

    def _price(self, route: Route, source: str, most: float) -> float:
        """What a route costs; counting stops at ``most``."""
        price = _LANE if len(route) > 1 else 0.0
        for x, y in samples(route):
            cell = int(x // _CELL), int(y // _CELL)
            price += _STEP + self._cost.get(cell, 0.0)
            drawn = self._drawn.get(cell)
            if drawn and (len(drawn) > 1 or source not in drawn):
                price += _NEAR
            if price >= most:
                return price
        return price


def _fits(lane: float, start: float, end: float) -> bool:
    """Within a row, what arrives above its middle comes from above, below from below."""
    if abs(start - end) > _ROW or start == end:
        return True
    return lane < end if end < start else lane > end


def samples(route: Route) -> Iterator[Point]:
    """Points along a curve, without the first and last pixels, which touch their own boxes."""
    first, last = route[0][0][0] + 5, route[-1][-1][0] - 5
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in route:
        count = max(2, int((abs(dx - ax) + abs(dy - ay)) / _STEP))
        for k in range(count):
            t = (k + 0.5) / count
            u = 1 - t
            p, q, r, s = u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t
            x = p * ax + q * bx + r * cx + s * dx
            if first < x < last:
                yield x, p * ay + q * by + r * cy + s * dy


def _cell(point: Point) -> _Cell:
    return int(point[0] // _CELL), int(point[1] // _CELL)
