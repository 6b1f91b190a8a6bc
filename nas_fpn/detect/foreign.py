"""Detection data on its way from another format to COCO's: what was read, and what was wrong.

The readers of the formats give this one value, so that faults, notes and the writing are alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from nas_fpn.detect.images import EXIF_ORIENTATION, UNREADABLE, mode_fault

__all__ = [
    "SPLITS",
    "Foreign",
    "ForeignBox",
    "ForeignImage",
    "box_fault",
    "coco_documents",
    "size_of",
]

SPLITS = ("train", "val", "test")
NOT_TURNED = (0, 1)  # EXIF orientations: 0 is none, as some cameras write it
ROUNDING = 1.0  # pixels: annotation tools overshoot the border by as much


@dataclass(frozen=True, slots=True)
class ForeignBox:
    """A box of the class with this name: ``corners`` x1 y1 x2 y2 in pixels, counted from 0.

    ``ignored`` is COCO's crowd: no box to learn, and detections on it count for nothing.
    """

    name: str
    corners: tuple[float, float, float, float]
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class ForeignImage:
    """An image file, its size in pixels, and its boxes; there may be none."""

    path: Path
    width: int
    height: int
    boxes: tuple[ForeignBox, ...]


@dataclass(frozen=True, slots=True)
class Foreign:
    """A data set of another format: images by split, and the names of its classes in order.

    ``faults`` are entries that cannot be converted, a line each with file and place; they are not
    in ``splits``. ``notes`` say what was converted in a way that a user should know.
    """

    splits: dict[str, tuple[ForeignImage, ...]]
    names: tuple[str, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def box_fault(corners: Sequence[float], width: int, height: int) -> str | None:
    """What is wrong with a box in an image of this size, or None."""
    x1, y1, x2, y2 = corners
    shown = "[" + ", ".join(f"{side:g}" for side in corners) + "]"
    if not all(math.isfinite(side) for side in corners):
        return f"box {shown} is not finite"
    if not (x2 > x1 and y2 > y1):
        return f"box {shown} is empty: x2 and y2 must be above x1 and y1"
    visible = min(x2, width) > max(x1, 0) and min(y2, height) > max(y1, 0)
    if not visible or max(-x1, -y1, x2 - width, y2 - height) > ROUNDING:
        return f"box {shown} leaves the image of {width} x {height} pixels"
    return None


def size_of(path: Path, *, upright: bool) -> tuple[int, int] | str:
    """Width and height of an image file in pixels, or what is wrong with it.

    ``upright``: it is wrong that EXIF data turn or mirror the image. Nothing says then whether its
    labels are of the stored pixels or of what a viewer shows.
    """
    if not path.is_file():
        return f"no such file {path}"
    try:
        with PILImage.open(path) as image:
            width, height = image.size
            fault = mode_fault(image.mode)
            turned = image.getexif().get(EXIF_ORIENTATION, 1) if upright else 1
    except UNREADABLE as error:
        return f"{path} is not a readable image ({type(error).__name__})"
    if fault:
        return f"{path}: {fault}"
    if turned not in NOT_TURNED:
        return (
            f"{path}: its EXIF data turns it (orientation {turned}), and its boxes may be of the "
            "turned image: save it upright, and look at them"
        )
    return width, height


def coco_documents(foreign: Foreign, root: Path) -> dict[str, dict[str, Any]]:
    """A COCO detection document per split that has images; file names start at ``root``.

    Ids of images and annotations are counted over all splits, those of categories from 1; every
    document has all categories.
    """
    category_ids = {name: number for number, name in enumerate(foreign.names, start=1)}
    categories = [{"id": number, "name": name} for name, number in category_ids.items()]
    documents: dict[str, dict[str, Any]] = {}
    image_id = annotation_id = 0
    for split, of_split in foreign.splits.items():
        images, annotations = [], []
        for image in of_split:
            image_id += 1
            name = image.path.relative_to(root).as_posix()
            size = {"width": image.width, "height": image.height}
            images.append({"id": image_id, "file_name": name, **size})
            for box in image.boxes:
                annotation_id += 1
                x1, y1, x2, y2 = _inside(box.corners, image)
                annotations.append(
                    {
                        "id": annotation_id,
                        "image_id": image_id,
                        "category_id": category_ids[box.name],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": int(box.ignored),
                    }
                )
        if images:
            documents[split] = {
                "images": images,
                "annotations": annotations,
                "categories": categories,
            }
    return documents


def _inside(
    corners: tuple[float, float, float, float], image: ForeignImage
) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = corners
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(image.width)), min(y2, float(image.height))
