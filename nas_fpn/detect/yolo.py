"""Data in the YOLO format: a text file an image, a row a box: class, centre and size in 0..1.

``data.yaml`` names the classes and the folders (or lists) of images of each split; labels lie in
``labels/`` where images lie in ``images/``. Without it: ``classes.txt``, ``images/``, ``labels/``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nas_fpn.detect.foreign import Foreign, ForeignBox, ForeignImage, box_fault, size_of
from nas_fpn.errors import DataError

__all__ = ["is_yolo", "read_yolo"]

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
KEYS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}


@dataclass(slots=True)
class _Seen:
    """What the reader comes upon, in order."""

    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    labels: dict[Path, Path] = field(default_factory=dict)  # the image of each label file


def is_yolo(folder: Path) -> bool:
    """Whether there is a ``data.yaml`` (any .yaml) or a ``classes.txt``."""
    return _description(folder) is not None or _classes_file(folder) is not None


def read_yolo(folder: Path) -> Foreign:
    """Read a YOLO data set; its classes stay in their order.

    A row of more than four numbers is a polygon, or a turned box by its corners: the upright box
    around it is taken, and the notes count them. An image without a label file is background.

    Raises:
        DataError: where there is no such data, or no names of classes.
    """
    seen = _Seen()
    described = _description(folder)
    names, places = _from_yaml(folder, described) if described else _from_classes(folder)
    splits: dict[str, tuple[ForeignImage, ...]] = {}
    for split, of_split in places.items():
        read = (
            _read(folder, path, names, seen)
            for place in of_split
            for path in _pictures(place, seen)
        )
        splits[split] = tuple(image for image in read if image is not None)
    if not any(splits.values()) and not seen.faults:
        raise DataError(
            f"{folder}: no image in {', '.join(str(p) for s in places.values() for p in s)}"
        )
    _lonely_labels(seen)
    notes = [f"{count} {kind}" for kind, count in seen.kinds.items()]
    return Foreign(splits, names, tuple(seen.faults), tuple(notes))


def _description(folder: Path) -> Path | None:
    named = folder / "data.yaml"
    if named.is_file():
        return named
    others = sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
    return others[0] if len(others) == 1 else None


def _classes_file(folder: Path) -> Path | None:
    places = (folder / "classes.txt", folder / "labels" / "classes.txt")
    return next((path for path in places if path.is_file()), None)


def _from_yaml(folder: Path, path: Path) -> tuple[tuple[str, ...], dict[str, list[Path]]]:
    try:
        table: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict) or "names" not in table:
        raise DataError(f"{path}: names must list the classes, like names: [cat, dog]")
    names = _names(path, table["names"])
    base = path.parent
    if isinstance(table.get("path"), str) and (stated := folder / table["path"]).is_dir():
        base = stated  # tools often leave a path of another machine there
    places = {}
    for split, keys in KEYS.items():
        given = next((table[key] for key in keys if table.get(key)), None)
        rows = [given] if isinstance(given, str) else given or []
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise DataError(f"{path}: {split} must be a folder or a list of them, but is {given!r}")
        if rows:
            places[split] = [_place(path, base, row) for row in rows]
    if "train" not in places:
        raise DataError(f"{path}: train must name the folder of images to train on")
    return names, places


def _place(path: Path, base: Path, row: str) -> Path:
    """Where a row of the description points; exports of labelling sites say ../train for train."""
    tried = [base / row, path.parent / row, path.parent / row.removeprefix("../")]
    found = next((place for place in tried if place.exists()), None)
    if found is None:
        raise DataError(f"{path}: {row!r}: no such folder or list, at {base} or beside the file")
    return found


def _names(path: Path, given: Any) -> tuple[str, ...]:
    if isinstance(given, dict):
        if sorted(given) != list(range(len(given))):
            raise DataError(
                f"{path}: names must be numbered 0..{len(given) - 1}, but has {sorted(given)}"
            )
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not given:
        raise DataError(f"{path}: names must list the classes, but is {given!r}")
    names = tuple(str(name) for name in given)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: names has {', '.join(twice)} twice; give each class its own")
    return names


def _from_classes(folder: Path) -> tuple[tuple[str, ...], dict[str, list[Path]]]:
    path = _classes_file(folder)
    if path is None:
        raise DataError(f"{folder}: neither a data.yaml nor a classes.txt names the classes")
    rows = [row.strip() for row in path.read_text(encoding="utf-8").splitlines()]
    names = _names(path, [row for row in rows if row])
    images = folder / "images"
    places = {
        split: [images / key for key in keys if (images / key).is_dir()]
        for split, keys in KEYS.items()
    }
    if places["train"]:
        return names, {split: of_split for split, of_split in places.items() if of_split}
    return names, {"train": [images if images.is_dir() else folder]}


def _pictures(place: Path, seen: _Seen) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(p for p in place.rglob("*") if p.suffix.lower() in PICTURES)
        return
    for number, row in enumerate(place.read_text(encoding="utf-8").splitlines(), start=1):
        if not row.strip():
            continue
        path = place.parent / row.strip()
        if path.is_file():
            yield path
        else:
            seen.faults.append(f"{place}:{number}: no such file {path}")


def _labels_of(folder: Path, image: Path) -> Path:
    """``labels`` in place of the last ``images`` below the folder; else beside the image."""
    parts = list(image.parts)
    above = len(folder.parts) if image.is_relative_to(folder) else 0
    for place in range(len(parts) - 2, above - 1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    file, beside = Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")
    return beside if beside.is_file() and not file.is_file() else file


def _read(folder: Path, path: Path, names: Sequence[str], seen: _Seen) -> ForeignImage | None:
    file = _labels_of(folder, path)
    seen.labels[file] = path
    size = size_of(path, upright=True)
    if isinstance(size, str):
        seen.faults.append(size)
        return None
    if not file.is_file():
        seen.kinds["images have no label file: they are kept, as background"] += 1
        return ForeignImage(path, *size, ())
    boxes = []
    try:
        rows = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        seen.faults.append(f"{file}: cannot be read as text: {error}")
        return None
    for number, row in enumerate(rows, start=1):
        if row.strip():
            box = _box(row.split(), names, size, seen)
            if isinstance(box, str):
                seen.faults.append(f"{file}:{number}: {box}")
            else:
                boxes.append(box)
    return ForeignImage(path, *size, tuple(boxes))


def _box(
    cells: Sequence[str], names: Sequence[str], size: tuple[int, int], seen: _Seen
) -> ForeignBox | str:
    wanted = "class x y width height in 0..1, or a class and the corners of a polygon"
    try:
        label = int(cells[0])
        sides = [float(cell) for cell in cells[1:]]
    except ValueError:
        return f"must be {wanted}, but is {' '.join(cells)!r}"
    if not 0 <= label < len(names):
        return f"class {label}: there are 0..{len(names) - 1}"
    width, height = size
    if len(sides) == 4:
        x, y, w, h = sides
        left, top = (x - w / 2) * width, (y - h / 2) * height
        corners = (left, top, left + w * width, top + h * height)
    elif len(sides) >= 6 and len(sides) % 2 == 0:
        across = [side * width for side in sides[::2]]
        down = [side * height for side in sides[1::2]]
        corners = (min(across), min(down), max(across), max(down))
    else:
        return f"must be {wanted}, but has {len(sides)} numbers after the class"
    fault = box_fault(corners, width, height)
    if fault is None and len(sides) > 4:
        seen.kinds["rows are polygons: the upright box around each is taken"] += 1
    return fault or ForeignBox(names[label], corners)


def _lonely_labels(seen: _Seen) -> None:
    """Label files whose image is missing are faults: their boxes would vanish unsaid.

    Where the image is there, and is in no split, that is a note.
    """
    places: dict[Path, set[Path]] = {}
    for file, image in seen.labels.items():
        places.setdefault(file.parent, set()).add(image.parent)
    for place, images in sorted(places.items()):
        pictured = {p.stem for one in images for p in one.iterdir() if p.suffix.lower() in PICTURES}
        for file in sorted(place.glob("*.txt")):
            if file in seen.labels or file.name in ("classes.txt", "README.txt"):
                continue
            if file.stem in pictured:
                seen.kinds["images have a label file, are in no split and are left out"] += 1
            else:
                seen.faults.append(f"{file}: no image belongs to it")
