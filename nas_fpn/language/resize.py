"""The same design with more or fewer channels and cells, until it costs what another neck costs.

A larger neck is better by its size alone. Who compares two designs gives them equal means first.
"""

from collections.abc import Callable
from dataclasses import replace

from nas_fpn.errors import SpaceError
from nas_fpn.language.program import Architecture, Repeat
from nas_fpn.language.space import compile_space

__all__ = ["repeats", "resized"]

STEP = 8  # widths are multiples of it: what groups and hardware like
LEAST, MOST = 8, 2048  # channels
FAR = 2  # a width beyond this factor is another design: repeats change first
DEEPEST = 4  # times the program's own repeats

Measure = Callable[[Architecture], float]


def resized(architecture: Architecture, target: float, measure: Measure) -> Architecture:
    """The neck whose ``measure`` is nearest to ``target``, by its width, then by its repeats.

    Widths are multiples of 8 and the program's own, those that make it a program; from half of its
    own width to twice that. Where no such width reaches the target, every ``repeat`` of the program
    runs once more or once less often (at least once, at most four times its own count), and the
    widths are tried again. A program that has no repeats, or none left to change, takes any width.

    ``measure`` should grow with the width; it is asked for a few widths, once each. One that is
    a measurement, like a latency, may be off by its noise, and so is the result.
    """
    known: dict[Architecture, float] = {}

    def price(neck: Architecture) -> float:
        if neck not in known:
            known[neck] = measure(neck)
        return known[neck]

    neck, own, moved = architecture, architecture.width, 0
    passed: list[Architecture] = []
    while True:
        sizes = _sizes(neck, own // FAR, own * FAR)
        way = (target > price(sizes[-1])) - (target < price(sizes[0]))
        deeper = _repeated(neck, way)
        if way not in (0, -moved):
            if deeper is not None and repeats(deeper) <= DEEPEST * repeats(architecture):
                passed.append(sizes[-1] if way > 0 else sizes[0])
                neck, moved = deeper, way
                continue
            sizes = _sizes(neck, LEAST, MOST)
        found = [*passed, _nearest(sizes, target, price)]
        return min(found, key=lambda one: abs(price(one) - target))


def repeats(architecture: Architecture) -> int:
    """How often the program's repeated parts run, added up; 0 where it has none."""
    return sum(item.count for item in architecture.items if isinstance(item, Repeat))


def _sizes(neck: Architecture, low: int, high: int) -> list[Architecture]:
    """The program at every width from ``low`` to ``high`` that it takes, its own among them."""
    widths = {neck.width, *range(-(-low // STEP) * STEP, high + 1, STEP)}
    return [one for width in sorted(widths) if _is_program(one := neck.with_width(width))]


def _is_program(neck: Architecture) -> bool:
    """Whether every word takes this width: some want a multiple of something."""
    try:
        compile_space(str(neck), holes=False, words=neck.words)
    except SpaceError:
        return False
    return True


def _repeated(neck: Architecture, way: int) -> Architecture | None:
    """Every ``repeat`` that can run ``way`` more often; None where there is none."""
    items = tuple(
        replace(item, count=item.count + way)
        if isinstance(item, Repeat) and item.count + way > 0
        else item
        for item in neck.items
    )
    return None if items == neck.items else replace(neck, items=items)


def _nearest(sizes: list[Architecture], target: float, price: Measure) -> Architecture:
    """Of necks that cost more and more the one whose price is nearest; of two the smaller."""
    low, high = 0, len(sizes) - 1  # the first that costs the target or more is in low..high + 1
    while low <= high:
        middle = (low + high) // 2
        if price(sizes[middle]) < target:
            low = middle + 1
        else:
            high = middle - 1
    return min(sizes[max(low - 1, 0) : low + 1], key=lambda neck: abs(price(neck) - target))
