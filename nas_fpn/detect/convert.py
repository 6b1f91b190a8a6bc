"""VOC and YOLO folders to COCO JSON; nothing is dropped without a word.

The images stay where they are: the files written name them from the folder's root.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.foreign import Foreign, coco_documents
from nas_fpn.detect.voc import is_voc, read_voc
from nas_fpn.detect.yolo import is_yolo, read_yolo
from nas_fpn.errors import DataError

__all__ = ["Converted", "convert"]

SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Converted:
    """The files written, by split, with how many images and boxes; what was noticed, left out."""

    kind: Literal["voc", "yolo"]
    files: dict[str, Path]
    images: dict[str, int]
    boxes: dict[str, int]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def convert(
    folder: Path,
    to: Path,
    *,
    kind: Literal["voc", "yolo"] | None = None,
    zero_based: bool = False,
    skip_bad: bool = False,
) -> Converted:
    """Write ``to``/train.json (val, test) of a VOC or YOLO ``folder``, and read them as a check.

    ``kind`` None: what is there decides. ``zero_based`` is VOC's, see :func:`read_voc`. With
    ``skip_bad`` faulty images and boxes are left out and listed. A file that ``to`` has already
    is never written over.

    Raises:
        DataError: for a folder of neither format, for every fault in it at once, and for files
            that are there already.
    """
    folder = folder.absolute()
    kind = kind or _kind_of(folder)
    foreign = read_voc(folder, zero_based=zero_based) if kind == "voc" else read_yolo(folder)
    if foreign.faults and not skip_bad:
        raise DataError(_message(folder, foreign.faults))
    _check_apart(folder, foreign)
    documents = coco_documents(_rooted(foreign, folder), folder)
    if "train" not in documents or not foreign.names:
        what = "image to train on" if foreign.names else "box"
        raise DataError(f"{folder}: no usable {what} in it; one at least is needed")
    files = {split: to / f"{split}.json" for split in documents}
    if there := [path for path in files.values() if path.exists()]:
        raise DataError(f"{there[0]}: is there already; --to names a new folder")
    to.mkdir(parents=True, exist_ok=True)
    for split, path in files.items():
        text = json.dumps(documents[split]) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")
    for path in files.values():
        read_coco(path, folder, pixels=False)
    return Converted(
        kind=kind,
        files=files,
        images={split: len(document["images"]) for split, document in documents.items()},
        boxes={split: len(document["annotations"]) for split, document in documents.items()},
        names=foreign.names,
        notes=foreign.notes,
        skipped=foreign.faults,
    )


def _kind_of(folder: Path) -> Literal["voc", "yolo"]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    voc, yolo = is_voc(folder), is_yolo(folder)
    if voc and yolo:
        raise DataError(f"{folder}: looks like VOC and like YOLO; say which with --format")
    if not voc and not yolo:
        raise DataError(
            f"{folder}: looks neither like VOC (Annotations/*.xml) nor like YOLO (data.yaml, or "
            "classes.txt with images/ and labels/)"
        )
    return "voc" if voc else "yolo"


def _rooted(foreign: Foreign, folder: Path) -> Foreign:
    """Every path without detours (``a/../b``), so that it begins with ``folder``."""
    splits = {
        split: tuple(replace(i, path=Path(os.path.normpath(i.path))) for i in images)
        for split, images in foreign.splits.items()
    }
    for images in splits.values():
        for image in images:
            if not image.path.is_relative_to(folder):
                raise DataError(
                    f"{image.path}: lies outside {folder}; name a folder that holds all images"
                )
    return replace(foreign, splits=splits)


def _check_apart(folder: Path, foreign: Foreign) -> None:
    """No image may serve in two splits: a score on test would be one on train."""
    seen: dict[Path, str] = {}
    for split, images in foreign.splits.items():
        for image in images:
            other = seen.setdefault(image.path.resolve(), split)
            if other != split:
                raise DataError(
                    f"{folder}: {image.path.name} is in {other} and in {split}; take it out of one"
                )


def _message(folder: Path, faults: Sequence[str]) -> str:
    count = "1 entry" if len(faults) == 1 else f"{len(faults)} entries"
    lines = [f"{folder}: {count} cannot be converted"]
    lines += [f"  {fault.replace(f'{folder}/', '')}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"  … and {len(faults) - SHOWN_FAULTS} more")
    lines.append("mend them, or leave these entries out with --skip-bad")
    return "\n".join(lines)
