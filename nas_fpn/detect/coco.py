"""COCO detection data, checked once at the door: every fault is named, all of them at once.

A file whose header is whole may still be cut off: that shows when its pixels are decoded.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image as PILImage

from nas_fpn.detect.dataset import Category, Dataset, Image
from nas_fpn.detect.images import EXIF_ORIENTATION, UNREADABLE, mode_fault
from nas_fpn.detect.json_file import read_json
from nas_fpn.errors import DataError

__all__ = ["read_coco"]

Entry = Mapping[str, Any]

SHOWN_FAULTS = 20
ROUNDING = 1.0  # pixels: annotation tools overshoot the border by as much
UNKNOWN_SIZE = (0, 0)


def read_coco(
    json_path: Path, images_folder: Path, *, skip_bad: bool = False, pixels: bool = True
) -> tuple[Dataset, tuple[str, ...]]:
    """Read and check a COCO detection file; also return what was left out, a line each.

    Raises ``DataError`` with every fault, by file and id. With ``skip_bad`` bad images (and the
    boxes on them), boxes and categories are left out instead and listed; a file that cannot be
    read at all, or of which nothing remains, is an error still. Of two entries with one id, or of
    two images with one file, the first stays. Boxes that cross the border by up to one pixel are
    taken for rounding and clipped. Without ``pixels`` only the headers of images are read: for who
    decodes them all next and stops at a broken one. EXIF rotation is not applied, as in the COCO
    tools: sizes are those of the pixels.
    """
    document = _read_document(json_path)
    if not images_folder.is_dir():
        raise DataError(
            f"{images_folder}: no such folder; images must name the folder of {json_path.name}"
        )
    categories, category_faults = _check_categories(document["categories"])
    sizes = _declared_sizes(document["images"])
    images, image_faults = _check_images(document["images"], images_folder, pixels=pixels)
    rows, box_faults = _check_annotations(document["annotations"], sizes, categories)
    faults = (*category_faults, *image_faults, *box_faults)
    if faults and not skip_bad:
        absent = sum(": no such file " in fault for fault in image_faults)
        raise DataError(_fault_list(json_path, faults, elsewhere=absent == len(document["images"])))
    if not images or not categories:
        missing = "image" if categories else "category"
        reason = f"{json_path}: no usable {missing} in it; one at least is needed"
        raise DataError(_fault_list(json_path, faults) if faults else reason)
    return _assemble(tuple(images.values()), tuple(categories.values()), rows=rows), faults


@dataclass(frozen=True, slots=True)
class _Row:
    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool


def _read_document(path: Path) -> dict[str, list[Any]]:
    document = read_json(path, form="a COCO detection JSON")
    keys = ("images", "annotations", "categories")
    if not isinstance(document, dict):
        got = type(document).__name__
        raise DataError(f"{path}: must be an object with {', '.join(keys)}, but is a {got}")
    faults = [
        f"{key!r} is missing" if key not in document else f"{key!r} must be a list"
        for key in keys
        if not isinstance(document.get(key), list)
    ]
    if faults:
        raise DataError(
            f"{path}: {' and '.join(faults)}; a COCO detection file has {', '.join(keys)}"
        )
    return document


def _check_categories(entries: Sequence[Any]) -> tuple[dict[int, Category], list[str]]:
    kept: dict[int, Category] = {}
    faults = []
    names: set[str] = set()
    for place, entry in enumerate(entries):
        where = _place("category", entry, place)
        if fault := _shape_fault(entry, ids=("id",), texts=("name",)):
            faults.append(f"{where}: {fault}")
        elif entry["id"] in kept:
            faults.append(f"{where}: the id is taken already, by {kept[entry['id']].name!r}")
        elif entry["name"] in names:
            faults.append(f"{where}: the name {entry['name']!r} is taken already")
        else:
            kept[entry["id"]] = Category(entry["id"], entry["name"])
            names.add(entry["name"])
    return kept, faults


def _declared_sizes(entries: Sequence[Any]) -> dict[int, tuple[int, int]]:
    """Sizes of all images that the file names, bad ones too: their boxes are checked as well."""
    sizes: dict[int, tuple[int, int]] = {}
    for entry in entries:
        if isinstance(entry, dict) and _is_id(entry.get("id")):
            width, height = entry.get("width"), entry.get("height")
            if _is_id(width) and _is_id(height) and width > 0 and height > 0:
                sizes.setdefault(entry["id"], (width, height))
            sizes.setdefault(entry["id"], UNKNOWN_SIZE)
    return sizes


def _check_images(
    entries: Sequence[Any], folder: Path, *, pixels: bool
) -> tuple[dict[int, Image], list[str]]:
    kept: dict[int, Image] = {}
    faults = []
    seen: set[int] = set()
    taken: dict[Path, int] = {}
    for place, entry in enumerate(entries):
        where = _place("image", entry, place)
        fault = _shape_fault(entry, ids=("id", "width", "height"), texts=("file_name",))
        number = entry.get("id") if isinstance(entry, dict) else None
        if fault is None and number in seen:
            fault = "the id is taken already"
        elif fault is None:
            size = (entry["width"], entry["height"])
            fault = _file_fault(folder / entry["file_name"], size, pixels=pixels)
        if _is_id(number):
            seen.add(number)
        path = folder / entry["file_name"] if fault is None else folder
        if fault is None and (first := taken.setdefault(path.resolve(), entry["id"])) != number:
            fault = f"the file is taken already, by image {first}: give one entry all its boxes"
        if fault is not None:
            faults.append(f"{where}: {fault}")
            continue
        kept[entry["id"]] = Image(entry["id"], path, entry["width"], entry["height"])
    return kept, faults


def _file_fault(path: Path, declared: tuple[int, int], *, pixels: bool) -> str | None:
    if not path.is_file():
        return f"no such file {path}"
    try:
        with PILImage.open(path) as image:
            size = image.size
            if fault := mode_fault(image.mode):
                return f"{path}: {fault}"
            if size == declared:
                if pixels:
                    image.load()
                return None
            turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    except UNREADABLE as error:
        return f"{path} is not a readable image ({type(error).__name__})"
    hint = "; its EXIF data turns it: save it upright" if turned else ""
    said, has = (f"{width} x {height}" for width, height in (declared, size))
    return f"the JSON says {said} pixels, the file has {has}{hint}"


def _check_annotations(
    entries: Sequence[Any],
    sizes: Mapping[int, tuple[int, int]],
    categories: Mapping[int, Category],
) -> tuple[list[_Row], list[str]]:
    rows = []
    faults = []
    seen: set[int] = set()
    for place, entry in enumerate(entries):
        where = _place("annotation", entry, place)
        fault = _shape_fault(entry, ids=("id", "image_id", "category_id"), texts=())
        if fault is None:
            where = f"{where} of image {entry['image_id']}"
            if entry["id"] in seen:
                fault = "the id is taken already"
            elif entry["image_id"] not in sizes:
                fault = f"no image has the id {entry['image_id']}"
            elif entry["category_id"] not in categories:
                fault = f"no category has the id {entry['category_id']}"
            else:
                fault = _box_fault(entry, sizes[entry["image_id"]])
            seen.add(entry["id"])
        if fault is not None:
            faults.append(f"{where}: {fault}")
            continue
        width, height = sizes[entry["image_id"]]
        x, y, w, h = entry["bbox"]
        box = (max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height))
        crowd = bool(entry.get("iscrowd", 0))
        area = entry.get("area", w * h)
        rows.append(_Row(entry["image_id"], entry["category_id"], box, area, crowd))
    return rows, faults


def _box_fault(entry: Entry, size: tuple[int, int]) -> str | None:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        return f"bbox must be [x, y, width, height], but got {box!r}"
    if not all(math.isfinite(side) for side in box):
        return f"box {box} is not finite"
    ends = np.array([box[0] + box[2], box[1] + box[3]], np.float32)
    if not (ends > np.array(box[:2], np.float32)).all():
        return f"box {box} is empty: width and height must be above 0"
    if not (_is_number(area := entry.get("area", 0)) and math.isfinite(area) and area >= 0):
        return f"area must be a number of pixels, but got {area!r}"
    if entry.get("iscrowd", 0) not in (0, 1):
        return f"iscrowd must be 0 or 1, but got {entry['iscrowd']!r}"
    if size == UNKNOWN_SIZE:  # the image's own fault says so
        return None
    x1, y1, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
    over = max(-x1, -y1, x2 - size[0], y2 - size[1])
    inside = np.array([max(x1, 0), max(y1, 0), min(x2, size[0]), min(y2, size[1])], np.float32)
    if over > ROUNDING or not (inside[2:] > inside[:2]).all():
        return f"box {box} leaves the image of {size[0]} x {size[1]} pixels"
    return None


def _shape_fault(entry: Any, *, ids: tuple[str, ...], texts: tuple[str, ...]) -> str | None:
    if not isinstance(entry, dict):
        return f"must be an object, but is {entry!r}"
    if missing := [key for key in (*ids, *texts) if key not in entry]:
        return f"has no {' and no '.join(repr(key) for key in missing)}"
    for key in ids:
        if not _is_id(entry[key]):
            return f"{key} must be a whole number, but got {entry[key]!r}"
        if key in ("width", "height") and entry[key] < 1:
            return f"{key} must be above 0, but got {entry[key]}"
    for key in texts:
        if not isinstance(entry[key], str) or not entry[key]:
            return f"{key} must be a text, but got {entry[key]!r}"
    return None


def _place(kind: str, entry: Any, place: int) -> str:
    if not isinstance(entry, dict) or not _is_id(entry.get("id")):
        return f"{kind} number {place + 1} of the list"
    name = entry.get("file_name") or entry.get("name")
    return f"{kind} {entry['id']} ({name})" if isinstance(name, str) else f"{kind} {entry['id']}"


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return _is_id(value) or isinstance(value, float)


def _fault_list(path: Path, faults: Sequence[str], *, elsewhere: bool = False) -> str:
    """What to say of a file with faults; ``elsewhere``: not one of its images was found."""
    tables = {"category": "categories", "image": "images", "annotation": "annotations"}
    kinds = Counter(tables[fault.split(" ", 1)[0]] for fault in faults)
    lines = [f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}"]
    lines[0] += f" ({', '.join(f'{kinds[kind]} in {kind}' for kind in kinds)})"
    lines += [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"  … and {len(faults) - SHOWN_FAULTS} more")
    mend = "mend them, or leave these entries out with skip_bad = true (--skip-bad)"
    where = "not one is there: say where their file names start, with images in [data] (--images)"
    lines.append(where if elsewhere else mend)
    return "\n".join(lines)


def _assemble(
    images: tuple[Image, ...], categories: tuple[Category, ...], *, rows: Sequence[_Row]
) -> Dataset:
    index = {category.id: label for label, category in enumerate(categories)}
    by_image: dict[int, list[_Row]] = {image.id: [] for image in images}
    for row in rows:
        if row.image_id in by_image:  # boxes on an image that was left out go with it
            by_image[row.image_id].append(row)
    groups = list(by_image.values())
    return Dataset(
        images,
        categories,
        tuple(_array([r.box for r in g], np.float32).reshape(-1, 4) for g in groups),
        tuple(_array([index[r.category_id] for r in g], np.int64) for g in groups),
        tuple(_array([r.crowd for r in g], np.bool_) for g in groups),
        tuple(_array([r.area for r in g], np.float32) for g in groups),
    )


def _array(values: Sequence[Any], kind: type) -> np.ndarray:
    array: np.ndarray = np.array(values, kind)
    array.setflags(write=False)
    return array
