"""Scenes of textured shapes over clutter: pictures that a detector needs all levels for.

A class is an outline and a detail. The outline is disc, triangle or star. The detail is striped
or dotted, and where it shows depends on the size of the object:

- a large object wears it as a fine texture with a period of four pixels, far below the stride of
  the levels that large objects are found at;
- a small object is plain, and its detail is that of the ground around it, whose furrows or
  mounds are wider than the object itself.

So large objects ask for detail from fine levels and small ones for context from coarse levels.
Objects hide each other, bars lie over them, and bars and blobs that wear the same textures but
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

OUTLINES = ("disc", "triangle", "star")
DETAILS = ("striped", "dotted")
CLASSES = tuple(f"{detail} {outline}" for outline in OUTLINES for detail in DETAILS)

# In pixels, whatever the side of the picture:
SMALLEST = 8.0
PLAIN_BELOW = 20.0  # a smaller object wears no texture
TEXTURE_PERIOD = 4.0
GROUND_PERIOD = (26.0, 36.0)
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
    canvas, ground = _ground(rng, grid)
    owner = np.full((image_size, image_size), -1)
    for _ in range(rng.integers(5, 10)):
        _paint(canvas, _clutter(rng, grid, unit))
    labels: list[int] = []
    for _ in range(rng.integers(4, MOST_OBJECTS + 1)):
        for _ in range(5):  # tries to place it
            shape = _object(rng, grid, ground)
            solid = shape.cover > 0.5
            if _has_room(owner, solid, plain=shape.wave is None) and _leaves_all_seen(
                owner, solid, labels
            ):
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


def _ground(rng: np.random.Generator, grid: Array) -> tuple[Array, Array]:
    """Ground in one or two parts, and the detail (0 or 1) of each pixel's part, int [S, S]."""
    side = grid.shape[1]
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.15, 0.15) * side
    along = _turned(grid - side / 2, angle)[0]
    first = int(rng.integers(0, 2))
    parted = rng.random() < 0.5
    details = np.where((along > shift) & parted, 1 - first, first)
    waves = np.zeros((side, side))
    for detail in range(2):
        period = rng.uniform(*GROUND_PERIOD)
        wave = _pattern(rng, grid, detail=detail, period=period)
        waves = np.where(details == detail, wave, waves)
    base = rng.uniform(70, 185, 3)
    tint = rng.uniform(0.5, 1.0, 3) * rng.uniform(26, 40)
    coarse = rng.normal(0, 12, (6, 6, 3)).astype(np.float32)
    haze = np.stack([_enlarged(coarse[..., c], side) for c in range(3)], axis=-1)
    return base + waves[..., None] * tint + haze, details


def _object(rng: np.random.Generator, grid: Array, ground: Array) -> _Shape:
    side = grid.shape[1]
    size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(side / 2))))
    x, y = rng.uniform(0.2 * size, side - 0.2 * size, 2)
    outline = int(rng.integers(0, len(OUTLINES)))
    cover = _outline(rng, grid - np.array([x, y])[:, None, None], outline=outline, size=size)
    plain = size < PLAIN_BELOW
    at = ground[min(int(y), side - 1), min(int(x), side - 1)]
    detail = int(at) if plain else int(rng.integers(0, 2))
    label = outline * len(DETAILS) + detail
    return _dressed(rng, grid, cover, detail=None if plain else detail, label=label)


def _clutter(rng: np.random.Generator, grid: Array, unit: float) -> _Shape:
    """Draw a bar or a blob that wears a texture or none and is of no class."""
    if rng.random() < 0.5:
        return _bar(rng, grid, unit)
    side = grid.shape[1]
    centre = rng.uniform(0, side, (2, 1, 1))
    u, v = _turned(grid - centre, rng.uniform(0, 2 * np.pi))
    length = rng.uniform(8, 24) * unit
    away = np.hypot(u / length, v / (length * rng.uniform(0.25, 0.45)))
    cover = np.clip((1 - away) * length / 3, 0, 1) * rng.uniform(0.4, 0.9)  # a soft border
    return _dressed(rng, grid, cover, detail=_any_detail(rng))


def _bar(rng: np.random.Generator, grid: Array, unit: float) -> _Shape:
    side = grid.shape[1]
    centre = rng.uniform(0, side, (2, 1, 1))
    u, v = _turned(grid - centre, rng.uniform(0, 2 * np.pi))
    length, width = rng.uniform(10, 40) * unit, rng.uniform(1.0, 4.0) * unit
    cover = np.clip(np.minimum(length - abs(u), width - abs(v)) + 0.5, 0, 1)
    return _dressed(rng, grid, cover, detail=_any_detail(rng))


def _any_detail(rng: np.random.Generator) -> int | None:
    return int(rng.integers(0, 2)) if rng.random() < 0.5 else None


def _outline(rng: np.random.Generator, grid: Array, *, outline: int, size: float) -> Array:
    """Cover of an outline with ``size`` pixels across, centred at 0, with a border of a pixel."""
    stretch = np.sqrt(rng.uniform(0.75, 1.33))
    u, v = _turned(grid, rng.uniform(0, 2 * np.pi))
    u, v = u * stretch, v / stretch
    around, away = np.arctan2(v, u), np.hypot(u, v)
    if OUTLINES[outline] == "disc":
        reach = np.full_like(away, 0.5)
    elif OUTLINES[outline] == "triangle":
        third = 2 * np.pi / 3
        reach = 0.58 * np.cos(third / 2) / np.cos(around % third - third / 2)
    else:
        reach = 0.40 + 0.17 * np.cos(5 * around)
    cover: Array = np.clip(reach * size - away + 0.5, 0, 1)
    return cover


def _dressed(
    rng: np.random.Generator, grid: Array, cover: Array, *, detail: int | None, label: int = -1
) -> _Shape:
    base, tint = rng.uniform(30, 225, 3), rng.uniform(0.6, 1.0, 3) * rng.uniform(45, 65)
    if detail is None:
        return _Shape(cover, base, tint, None, label)
    wave = _pattern(rng, grid, detail=detail, period=TEXTURE_PERIOD * rng.uniform(0.9, 1.1))
    return _Shape(cover, base, tint, wave, label)


def _pattern(rng: np.random.Generator, grid: Array, *, detail: int, period: float) -> Array:
    """Stripes or dots, in about -1..1, with equal mean and spread, at any angle and phase."""
    u, v = _turned(grid, rng.uniform(0, 2 * np.pi)) * (2 * np.pi / period)
    u, v = u + rng.uniform(0, 2 * np.pi), v + rng.uniform(0, 2 * np.pi)
    if DETAILS[detail] == "striped":
        wave: Array = np.sin(u)
    else:
        wave = np.sin(u) * np.sin(v) * np.sqrt(2)
    return wave


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


def _has_room(owner: Array, solid: Array, *, plain: bool) -> bool:
    """Whether enough of it lies in the picture, and a plain one on the ground that it tells by."""
    if solid.sum() < 0.3 * SMALLEST**2:
        return False
    return not plain or bool((owner[solid] == -1).mean() > 0.8)


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
