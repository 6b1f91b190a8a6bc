"""The bank: frozen backbone features of all images and views, one file for all workers.

The file is a memory-mapped safetensors, so that the workers of a node share its pages; it holds
the ground truth as well, and so a worker needs no images.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas_fpn.detect.dataset import Category
from nas_fpn.errors import RunError

__all__ = ["Bank", "Split", "open_bank"]

VERSION = "1"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The images of one split; row i of each tensor is one image in one view.

    ``features`` by level [N, C, H, W], standardised per channel; ``boxes`` float32 [N, M, 4],
    x1 y1 x2 y2 in network pixels, padded with zeros; ``labels`` int64 [N, M], padded with -1;
    ``image_ids`` int64 [N]; ``scales`` float32 [N], network pixels per pixel of the file. Train
    holds every view, view by view; val and test hold the images as they are. Crowds are no boxes.
    """

    features: Mapping[int, Tensor]
    boxes: Tensor
    labels: Tensor
    image_ids: Tensor
    scales: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """What a trial trains on; ``truth`` holds the COCO documents of "val" and "test".

    ``mean`` and ``std`` by level, [C]: features were standardised as (x - mean) / std, and a
    detector of backbone and neck must do the same.
    """

    path: Path
    key: str
    levels: tuple[int, ...]
    channels: Mapping[int, int]
    image_size: int
    categories: tuple[Category, ...]
    train: Split
    val: Split
    test: Split
    truth: Mapping[str, Any]
    mean: Mapping[int, Tensor] = field(default_factory=dict)
    std: Mapping[int, Tensor] = field(default_factory=dict)


def open_bank(path: Path) -> Bank:
    """Open a bank; its tensors are read from disk when they are used.

    Raises ``RunError`` if there is none at ``path``, or one of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path}: no such bank; nas-fpn search on its run makes it") from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: not a bank ({error}); delete it and search again") from None
    if facts.get("bank") != VERSION:
        raise RunError(
            f"{path}: a bank of version {facts.get('bank')}, and this program reads version "
            f"{VERSION}; delete it, and nas-fpn search on its run makes it again"
        )
    channels = {int(level): count for level, count in json.loads(facts["channels"]).items()}
    levels = tuple(channels)
    return Bank(
        path=path,
        key=facts["key"],
        levels=levels,
        channels=channels,
        image_size=int(facts["image_size"]),
        categories=tuple(
            Category(number, name) for number, name in json.loads(facts["categories"])
        ),
        **{split: _split(tensors, split, levels) for split in SPLITS},
        truth={name: json.loads(tensors[f"truth.{name}"].numpy().tobytes()) for name in SPLITS[1:]},
        mean={level: tensors[f"mean.{level}"] for level in levels},
        std={level: tensors[f"std.{level}"] for level in levels},
    )


def _split(tensors: Mapping[str, Tensor], name: str, levels: tuple[int, ...]) -> Split:
    return Split(
        {level: tensors[f"{name}.features.{level}"] for level in levels},
        **{part: tensors[f"{name}.{part}"] for part in ("boxes", "labels", "image_ids", "scales")},
    )
