"""Proposals that somebody else made, from a file in COCO's format of results, checked at the door.

The file is a list of ``{"image_id": 7, "bbox": [x, y, width, height], "score": 0.9}``, in pixels of
the stored image; what else an entry has, as a category, is not read. Pictures that are in no data
set have no ids: there an entry has the name of the file, ``{"file_name": "fish.jpg", …}``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas_fpn.detect.dataset import Dataset
from nas_fpn.detect.json_file import read_json
from nas_fpn.errors import DataError

__all__ = ["read_named_proposals", "read_proposals", "with_proposals"]

SHOWN_FAULTS = 20
Rows = list[tuple[float, tuple[float, float, float, float]]]  # scores, and boxes by their corners
FORM = '{"image_id": 7, "bbox": [x, y, width, height], "score": 0.9}'
NAMED_FORM = '{"file_name": "fish.jpg", "bbox": [x, y, width, height], "score": 0.9}'


def read_proposals(path: Path) -> dict[int, np.ndarray]:
    """Boxes float32 [n, 4] (x1 y1 x2 y2, pixels) by image id, best first.

    Raises:
        DataError: with every fault of the file, by the place of the entry.
    """
    return {image: _best_first(own) for image, own in _read(path, "image_id", form=FORM).items()}


def read_named_proposals(path: Path) -> dict[str, np.ndarray]:
    """The same by the name of the picture's file.

    Raises:
        DataError: with every fault of the file, by the place of the entry; of one that has ids in
            the place of names, that an id alone says no picture.
    """
    read = _read(path, "file_name", form=NAMED_FORM)
    return {name: _best_first(own) for name, own in read.items()}


def with_proposals(
    dataset: Dataset, boxes: Mapping[int, np.ndarray], *, path: Path, split: str
) -> tuple[Dataset, int]:
    """The data with the proposals of its images; also how many images have none.

    An image may have no proposals: then nothing is found in it. ``path`` and ``split`` are for the
    message.

    Raises:
        DataError: where no image of the data has any.
    """
    empty = np.zeros((0, 4), dtype=np.float32)
    given = tuple(boxes.get(image.id, empty) for image in dataset.images)
    without = sum(not len(one) for one in given)
    if without == len(given):
        ids = ", ".join(str(image.id) for image in dataset.images[:5])
        raise DataError(
            f"{path}: has no proposal for any of the {len(given)} images of {split}, whose ids "
            f"begin {ids}\nimage_id must be the id of an image in the JSON file of {split}"
        )
    return replace(dataset, proposals=given), without


def _best_first(rows: Rows) -> np.ndarray:
    """Boxes float32 [n, 4] (x1 y1 x2 y2, pixels)."""
    boxes = [box for _, box in sorted(rows, key=lambda one: -one[0])]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _read(path: Path, key: str, *, form: str) -> dict[Any, Rows]:
    """The entries of a file by what they have as ``key``."""
    rows: dict[Any, Rows] = {}
    faults = []
    entries = _read_list(path, form)
    if key == "file_name" and entries and all(map(_has_id_alone, entries)):
        raise DataError(
            f"{path}: its entries have an image_id, and nothing says which picture that is\n"
            "give the COCO JSON whose images have these ids and the names of the pictures, --data "
            f"FILE, or write entries as {form}"
        )
    for place, entry in enumerate(entries):
        if (fault := _fault(entry, key)) is not None:
            faults.append(f"  entry {place}: {fault}")
            continue
        x, y, width, height = entry["bbox"]
        rows.setdefault(entry[key], []).append((entry["score"], (x, y, x + width, y + height)))
    if faults:
        shown = "\n".join(faults[:SHOWN_FAULTS])
        more = f"\n  … and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise DataError(f"{path}: faults in the proposals:\n{shown}{more}\nan entry is {form}")
    return rows


def _read_list(path: Path, form: str) -> Sequence[Any]:
    document = read_json(path, form=f"a JSON list of {form}")
    if not isinstance(document, list):
        raise DataError(f"{path}: must be a list of {form}, but is a {type(document).__name__}")
    return document


def _fault(entry: Any, key: str) -> str | None:
    """What is wrong with an entry; None where nothing is."""
    if not isinstance(entry, dict):
        return f"must be an object, but is a {type(entry).__name__}"
    image, box, score = (entry.get(name) for name in (key, "bbox", "score"))
    if key == "file_name":
        if not isinstance(image, str) or not image:
            return f"file_name must be a text, but is {_shown(image)}"
    elif not isinstance(image, int) or isinstance(image, bool):
        return f"image_id must be a whole number, but is {_shown(image)}"
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f"bbox must be four numbers, but is {_shown(box)}"
    if box[2] < 0 or box[3] < 0:
        return f"bbox must have width and height of 0 or more, but is {_shown(box)}"
    if not _is_number(score):
        return f"score must be a number, but is {_shown(score)}"
    return None


def _has_id_alone(entry: Any) -> bool:
    return isinstance(entry, dict) and "image_id" in entry and "file_name" not in entry


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
