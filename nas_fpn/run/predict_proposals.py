"""Which proposals belong to which picture, for a detector that is given them.

Pictures have names and proposals have ids: a COCO JSON has both. Without one the proposals
themselves name their picture.
"""

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas_fpn.detect.images import open_image
from nas_fpn.detect.json_file import read_json
from nas_fpn.detect.proposals import read_named_proposals, read_proposals
from nas_fpn.errors import DataError, RunError

__all__ = ["Given", "proposals_for"]

SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Proposals [n, 4] (x0, y0, x1, y1, pixels) of each picture, and the pictures with none."""

    boxes: tuple[Tensor, ...]
    without: tuple[Path, ...]


def proposals_for(
    pictures: Sequence[Path],
    *,
    kind: str,
    folder: Path,
    proposals: Path | None,
    data: Path | None,
) -> Given | None:
    """The proposals of each picture for the detector of ``folder``; None if its kind takes none.

    ``data`` is the COCO JSON whose ids ``proposals`` has. A picture is the image whose file name
    its path ends with, part by part; of several the longest.

    Raises:
        RunError: where proposals are missing, or given to a detector that takes none.
        DataError: for a fault in a file, a picture that the data does not have or that has another
            size there, and where no picture has a proposal.
    """
    if kind != "fast_rcnn":
        if proposals is not None or data is not None:
            raise RunError(
                f"{folder}: is a detector of kind {kind}, which takes no proposals\n"
                "leave --proposals and --data out"
            )
        return None
    if proposals is None:
        raise RunError(
            f"{folder}: is a Fast R-CNN, which wants boxes that somebody proposes for each picture"
            "\ngive --proposals BOXES.json, in the form of those it was trained on, and with "
            "--data IMAGES.json the COCO JSON whose image ids they have"
        )
    by_key: Mapping[Any, np.ndarray]
    keys: Sequence[Any]
    if data is None:
        by_key = read_named_proposals(proposals)
        keys = [_ending(by_key, picture) for picture in pictures]
    else:
        by_key = read_proposals(proposals)
        keys = _ids(data, pictures)
    boxes = tuple(_boxes(by_key, key) for key in keys)
    without = tuple(one for one, own in zip(pictures, boxes, strict=True) if not len(own))
    if len(without) == len(pictures):
        raise DataError(_none_said(proposals, by_key, keys, data=data))
    return Given(boxes, without)


def _boxes(by_key: Mapping[Any, np.ndarray], key: Hashable | None) -> Tensor:
    none = np.zeros((0, 4), dtype=np.float32)
    return torch.from_numpy(none if key is None else by_key.get(key, none))


def _ids(data: Path, pictures: Sequence[Path]) -> list[int]:
    """The id of each picture in a COCO JSON."""
    images = _images(data)
    ids = []
    for picture in pictures:
        name = _ending(images, picture)
        if name is None:
            raise DataError(
                f"{picture}: is none of the images of {data}, whose file names begin "
                f"{_listed(images)}\n"
                "name the COCO JSON that has the picture and its id: --data FILE"
            )
        identity, declared = images[name]
        if (size := open_image(picture).size) != declared:
            said, has = (f"{width} x {height}" for width, height in (declared, size))
            raise DataError(
                f"{picture}: has {has} pixels, and {name} in {data} has {said}\n"
                "proposals are in pixels of that image: give the picture as it is there"
            )
        ids.append(identity)
    return ids


def _images(data: Path) -> dict[str, tuple[int, tuple[int, int]]]:
    """Id, width and height of the images of a COCO JSON, by file name."""
    form = "a COCO detection JSON"
    document = read_json(data, form=form)
    entries = document.get("images") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{data}: has no list of images; it must be {form}")
    images = {}
    for place, entry in enumerate(entries):
        own = entry if isinstance(entry, dict) else {}
        name = own.get("file_name")
        number, width, height = (own.get(key) for key in ("id", "width", "height"))
        if not (
            isinstance(name, str)
            and isinstance(number, int)
            and isinstance(width, int)
            and isinstance(height, int)
        ):
            raise DataError(
                f"{data}: image number {place + 1} of the list must have whole numbers as id, "
                "width and height, and a text as file_name"
            )
        images[name] = (number, (width, height))
    return images


def _ending(names: Container[str], picture: Path) -> str | None:
    """The longest of the names that the path of a picture ends with."""
    parts = picture.absolute().parts
    endings = ("/".join(parts[place:]) for place in range(1, len(parts)))
    return next((ending for ending in endings if ending in names), None)


def _none_said(
    path: Path, by_key: Mapping[Any, np.ndarray], keys: Sequence[Any], *, data: Path | None
) -> str:
    what = f"{path}: has no proposal for any of the {len(keys)} pictures"
    if not by_key:
        return f"{what}: its list is empty\nwrite down what was proposed"
    if data is None:
        return f"{what}\nits file names begin {_listed(by_key)}: a picture's path must end with one"
    return (
        f"{what}, whose ids begin {_listed(keys)}\n"
        f"its own begin {_listed(by_key)}: image_id must be the id of an image in {data}"
    )


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, list(names)[:SHOWN])) or "nowhere, as there are none"
