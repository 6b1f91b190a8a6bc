"""The embedded data: generated scenes, written as a COCO folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from nas_fpn.detect.scenes import CLASSES, Scene, draw_scene
from nas_fpn.errors import DataError

__all__ = ["COUNTS", "write_shapes"]

COUNTS = {"train": 600, "val": 200, "test": 200, "warmup": 1200}  # images, where nothing is said

MARK = "shapes.json"  # in every folder written here: its settings, and whether it is whole
VERSION = 3  # of the scenes: other pixels for the same seed, another version
LEAST_SIZE = 64  # pixels; half of it still holds a large object


def write_shapes(
    folder: Path,
    *,
    seed: int,
    image_size: int = 128,
    train: int = COUNTS["train"],
    val: int = COUNTS["val"],
    test: int = COUNTS["test"],
    warmup: int = COUNTS["warmup"],
) -> None:
    """Write scenes as ``images/``, ``train.json``, ``val.json``, ``test.json``, ``warmup.json``.

    Every split draws from its own stream of ``seed``, so that no image of one depends on how
    many another has; the scenes of ``warmup`` are for training a backbone only. The same
    settings give the same bytes. With ``warmup=0`` there is no ``warmup.json``.

    A folder that already holds these very scenes is left as it is, and one whose writing was
    cut off is written again; any other folder with something in it raises ``DataError``, and so
    does an ``image_size`` (pixels) below 64.
    """
    counts = {"train": train, "val": val, "test": test, "warmup": warmup}
    if image_size < LEAST_SIZE:
        raise DataError(
            f"image_size must be {LEAST_SIZE} at least for the embedded scenes, "
            f"but got {image_size}\ngive data of your own, or larger images"
        )
    if seed < 0 or min(counts.values()) < 0 or min(train, val, test) < 1:
        raise ValueError(f"seed must be 0 or more and each split needs images, but got {counts}")
    settings = {"version": VERSION, "seed": seed, "image_size": image_size, **counts}
    if _is_written(folder, settings):
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    _write_json(folder / MARK, {**settings, "complete": False})
    for stream, (split, count) in enumerate(counts.items()):
        if count:
            _write_split(folder, split, count, stream=(seed, stream), image_size=image_size)
    _write_json(folder / MARK, {**settings, "complete": True})


def _is_written(folder: Path, settings: Mapping[str, int]) -> bool:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; name a folder for the shapes")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    mark = folder / MARK
    if not mark.is_file():
        raise DataError(
            f"{folder}: the folder is not empty and has no {MARK}, so it was not made here; "
            "name a new or an empty folder"
        )
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))
        complete = found.pop("complete")
    except (ValueError, KeyError, AttributeError):
        raise DataError(
            f"{mark}: cannot be read; name another folder, or delete this one"
        ) from None
    if found != settings:
        differ = sorted(set(found.items()) ^ set(settings.items()))
        keys = ", ".join(sorted({key for key, _ in differ}))
        raise DataError(
            f"{folder}: holds shapes of other settings ({keys}: {_values(found, keys)}, not "
            f"{_values(settings, keys)}); name another folder, or delete this one"
        )
    return bool(complete)


def _values(settings: Mapping[str, Any], keys: str) -> str:
    return ", ".join(str(settings.get(key)) for key in keys.split(", "))


def _write_split(
    folder: Path, split: str, count: int, *, stream: tuple[int, int], image_size: int
) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        scene = draw_scene(np.random.default_rng((*stream, number)), image_size)
        name = f"{split}_{number:05d}.png"
        PILImage.fromarray(scene.image).save(folder / "images" / name, compress_level=1)
        images.append({"id": number, "file_name": name, "width": image_size, "height": image_size})
        annotations += _annotations(scene, image_id=number, first=len(annotations) + 1)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    _write_json(folder / f"{split}.json", document)


def _annotations(scene: Scene, *, image_id: int, first: int) -> list[dict[str, Any]]:
    rows = zip(scene.boxes.tolist(), scene.labels.tolist(), scene.areas.tolist(), strict=True)
    return [
        {
            "id": number,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area,
            "iscrowd": 0,
        }
        for number, ((x1, y1, x2, y2), label, area) in enumerate(rows, start=first)
    ]


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
