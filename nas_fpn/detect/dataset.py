"""Detection data as a value: images, categories, and the boxes of each image.

Whoever holds a ``Dataset`` need not check it again: ``read_coco`` did.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_fpn.errors import DataError

__all__ = ["Category", "Dataset", "Image", "split_dataset", "spread_evenly", "take", "to_coco"]


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its COCO id, its file, and its size in pixels."""

    id: int
    path: Path
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Category:
    """One class: its COCO id and its name, unique in a dataset."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images and their boxes; entry i of the arrays belongs to ``images[i]``, read-only.

    ``boxes`` float32 [n, 4], x1 y1 x2 y2 in pixels of the stored image, inside it; ``labels``
    int64 [n], indices into ``categories``; ``crowd`` bool [n], boxes around a crowd: background in
    training, ignored regions to the evaluator; ``areas`` float32 [n], the areas that the evaluator
    sorts objects by (of the mask where the file has one, else of the box). n may be 0.
    ``proposals`` float32 [m, 4], boxes that somebody proposes, best first; None: nobody did.
    """

    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    boxes: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    crowd: tuple[np.ndarray, ...]
    areas: tuple[np.ndarray, ...]
    proposals: tuple[np.ndarray, ...] | None = None


def split_dataset(dataset: Dataset, fraction: float, *, seed: int) -> tuple[Dataset, Dataset]:
    """Deal whole images into two parts by ``seed``; the first gets ``fraction`` of them.

    Each part keeps the order of the images and has one image at least.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, but got fraction={fraction}")
    count = len(dataset.images)
    if count < 2:
        raise DataError(f"a split needs two images at least, but the data has {count}")
    order = random.Random(seed).sample(range(count), count)
    cut = min(max(round(count * fraction), 1), count - 1)
    return take(dataset, sorted(order[:cut])), take(dataset, sorted(order[cut:]))


def to_coco(dataset: Dataset) -> dict[str, Any]:
    """Write a dataset as a COCO document, the ground truth of the evaluator.

    Image and category ids are those of the source; annotations are numbered from 1.
    """
    annotations: list[dict[str, Any]] = []
    for image, boxes, labels, crowd, areas in zip(
        dataset.images, dataset.boxes, dataset.labels, dataset.crowd, dataset.areas, strict=True
    ):
        for (x1, y1, x2, y2), label, is_crowd, area in zip(
            boxes.tolist(), labels.tolist(), crowd.tolist(), areas.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": dataset.categories[label].id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(is_crowd),
                }
            )
    return {
        "images": [
            {"id": i.id, "file_name": i.path.name, "width": i.width, "height": i.height}
            for i in dataset.images
        ],
        "annotations": annotations,
        "categories": [{"id": c.id, "name": c.name} for c in dataset.categories],
    }


def spread_evenly(dataset: Dataset, most: int) -> Dataset:
    """At most ``most`` images, evenly spread over the data."""
    count = len(dataset.images)
    chosen = [count * i // most for i in range(most)] if count > most else list(range(count))
    return take(dataset, chosen)


def take(dataset: Dataset, chosen: Sequence[int]) -> Dataset:
    """Keep the images at these places, in their order."""
    return Dataset(
        tuple(dataset.images[i] for i in chosen),
        dataset.categories,
        tuple(dataset.boxes[i] for i in chosen),
        tuple(dataset.labels[i] for i in chosen),
        tuple(dataset.crowd[i] for i in chosen),
        tuple(dataset.areas[i] for i in chosen),
        None if dataset.proposals is None else tuple(dataset.proposals[i] for i in chosen),
    )
