"""Scenes of textured shapes over clutter: pictures that a detector needs all levels for.

A class is an outline and a detail. The outline is disc or cross, at any size from 8
pixels to half the picture. The detail is striped or plain; stripes have a period of some five
pixels at every size, far below the stride of the levels that large objects are found at. So the
outline of a large object asks for a coarse level, its detail for a fine one.

Objects hide each other, bars lie over them, and bars and blobs that wear the same stripes but
have no such outline lie around.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

__all__ = ["CLASSES", "Scene", "draw_scene"]

Array = npt.NDArray[Any]

OUTLINES = ("disc", "cross")
DETAILS = ("striped", "plain")
CLASSES = tuple(f"{detail} {outline}" for outline in OUTLINES for detail in DETAILS)

# In pixels, whatever the side of the picture:
SMALLEST = 8.0
STRIPE_PERIOD = 5.0

TILT = 0.35  # radians to either side
MOST_OBJECTS = 9
SEEN = 0.4  # what remains of each object under those that cover it


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture and what is to be found in it.

    ``image`` uint8 [S, S, 3]; ``boxes`` float32 [n, 4], x1 y1 x2 y2 around what is seen of
    each object; ``labels`` int64 [n], indices into ``CLASSES``; ``areas`` float32 [n], seen
    pixels.
    """

    image: Array
    boxes: Array
    labels: Array
    areas: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """What is painted: ``cover`` [S, S] in 0..1 is its opacity, ``label`` its class or -1.

    Its colour is ``base`` [3] + ``wave`` [S, S] × ``tint`` [3]; without texture it has no wave.
    """

    cover: Array
    base: Array
    tint: Array
    wave: Array | None
    label: int


def draw_scene(rng: np.random.Generator, image_size: int) -> Scene:
    """Draw one scene of S × S pixels; the same generator state gives the same pixels."""
    unit = image_size / 128  # clutter grows with the picture
    grid = _grid(image_size)
    canvas = _ground(rng, image_size)
    owner = np.full((image_size, image_size), -1)
    for _ in range(rng.integers(5, 10)):
        _paint(canvas, _clutter(rng, grid, unit))
    labels: list[int] = []
    for _ in range(rng.integers(4, MOST_OBJECTS + 1)):
        for _ in range(5):  # tries to place it
            shape = _object(rng, grid)
            solid = shape.cover > 0.5
            if _has_room(solid) and _leaves_all_seen(owner, solid, labels):
                _paint(canvas, shape)
                owner[solid] = len(labels)
                labels.append(shape.label)
                break
    for _ in range(rng.integers(0, 3)):
        bar = _bar(rng, grid, unit)
        solid = bar.cover > 0.5
        if _leaves_all_seen(owner, solid, labels):
            _paint(canvas, bar)
            owner[solid] = -1
    noise = rng.standard_normal(owner.shape, np.float32) * rng.uniform(3, 8)
    image = np.clip(canvas + noise[..., None], 0, 255).astype(np.uint8)
    boxes = [_box(owner == number) for number in range(len(labels))]
    areas = [float((owner == number).sum()) for number in range(len(labels))]
    return Scene(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(areas, np.float32),
    )


def _ground(rng: np.random.Generator, side: int) -> Array:
    """Ground of one colour under haze in coarse and in finer clouds, [S, S, 3]."""
    haze = np.zeros((side, side, 3))
    for cells, spread in ((6, 14), (24, 10)):
        clouds = rng.normal(0, spread, (cells, cells, 3)).astype(np.float32)
        haze += np.stack([_enlarged(clouds[..., c], side) for c in range(3)], axis=-1)
    return rng.uniform(60, 200, 3) + haze


def _object(rng: np.random.Generator, grid: Array) -> _Shape:
    side = grid.shape[1]
    size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(side / 2))))
    x, y = rng.uniform(0.2 * size, side - 0.2 * size, 2)
    outline = int(rng.integers(0, len(OUTLINES)))
    cover = _outline(rng, grid - np.array([x, y])[:, None, None], outline=outline, size=size)
    detail = int(rng.integers(0, len(DETAILS)))
    return _dressed(rng, grid, cover, detail=detail, label=outline * len(DETAILS) + detail)


def _clutter(rng: np.random.Generator, grid: Array, unit: float) -> _Shape:
    """Draw a bar or a blob that wears stripes or none and is of no class."""
    if rng.random() < 0.5:
        return _bar(rng, grid, unit)
    side = grid.shape[1]
    centre = rng.uniform(0, side, (2, 1, 1))
    u, v = _turned(grid - centre, rng.uniform(0, 2 * np.pi))
    length = rng.uniform(8, 24) * unit
    away = np.hypot(u / length, v / (length * rng.uniform(0.25, 0.45)))
    cover = np.clip((1 - away) * length / 3, 0, 1) * rng.uniform(0.4, 0.9)  # a soft border
    return _dressed(rng, grid, cover, detail=int(rng.integers(0, len(DETAILS))))


def _bar(rng: np.random.Generator, grid: Array, unit: float) -> _Shape:
    side = grid.shape[1]
    centre = rng.uniform(0, side, (2, 1, 1))
    u, v = _turned(grid - centre, rng.uniform(0, 2 * np.pi))
    length, width = rng.uniform(10, 40) * unit, rng.uniform(1.0, 4.0) * unit
    cover = np.clip(np.minimum(length - abs(u), width - abs(v)) + 0.5, 0, 1)
    return _dressed(rng, grid, cover, detail=int(rng.integers(0, len(DETAILS))))


def _outline(rng: np.random.Generator, grid: Array, *, outline: int, size: float) -> Array:
    """Cover of an outline with ``size`` pixels across, centred at 0, with a border of a pixel."""
    stretch = np.sqrt(rng.uniform(0.8, 1.25))
    u, v = _turned(grid, rng.uniform(-TILT, TILT))
    u, v = u * stretch, v / stretch
    if OUTLINES[outline] == "disc":
        inside = 0.5 * size - np.hypot(u, v)
    else:
        across, along = np.minimum(abs(u), abs(v)), np.maximum(abs(u), abs(v))
        inside = np.minimum(0.17 * size - across, 0.5 * size - along)
    cover: Array = np.clip(inside + 0.5, 0, 1)
    return cover


def _dressed(
    rng: np.random.Generator, grid: Array, cover: Array, *, detail: int, label: int = -1
) -> _Shape:
    base = rng.uniform(30, 225, 3)
    if DETAILS[detail] == "plain":
        return _Shape(cover, base, base, None, label)
    tint = rng.uniform(0.7, 1.0, 3) * rng.uniform(65, 85)
    u = _turned(grid, rng.uniform(0, 2 * np.pi))[0]
    period = STRIPE_PERIOD * rng.uniform(0.9, 1.1)
    wave = np.sin(u * (2 * np.pi / period) + rng.uniform(0, 2 * np.pi))
    return _Shape(cover, base, tint, wave, label)


def _grid(side: int) -> Array:
    """Give x and y of the pixels' middles, [2, S, S]."""
    middles = np.arange(side, dtype=np.float32) + 0.5
    return np.stack(np.meshgrid(middles, middles))


def _turned(grid: Array, angle: float) -> Array:
    x, y = grid
    return np.stack((x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)))


def _enlarged(values: Array, side: int) -> Array:
    picture = PILImage.fromarray(values).resize((side, side), PILImage.Resampling.BICUBIC)
    return np.asarray(picture)


def _paint(canvas: Array, shape: _Shape) -> None:
    """Paint in place: a canvas belongs to the scene that is being drawn."""
    x1, y1, x2, y2 = _box(shape.cover > 0) if shape.cover.any() else (0, 0, 0, 0)
    part = canvas[y1:y2, x1:x2]
    colours = shape.base
    if shape.wave is not None:
        colours = colours + shape.wave[y1:y2, x1:x2, None] * shape.tint
    part += shape.cover[y1:y2, x1:x2, None] * (colours - part)


def _has_room(solid: Array) -> bool:
    """Whether enough of it lies in the picture."""
    return bool(solid.sum() >= 0.3 * SMALLEST**2)


def _leaves_all_seen(owner: Array, solid: Array, labels: Sequence[int]) -> bool:
    """Whether painting ``solid`` leaves enough of every object so far."""
    for number in range(len(labels)):
        mine = owner == number
        if (mine & solid).any() and (mine & ~solid).sum() < (SEEN * mine.sum()):
            return False
    return True


def _box(mine: Array) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
