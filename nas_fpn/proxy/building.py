"""Building the bank: every image through the frozen backbone once, in every view."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_fpn.detect.dataset import Dataset, take, to_coco
from nas_fpn.detect.images import open_image
from nas_fpn.errors import DataError
from nas_fpn.proxy.backbone import Backbone
from nas_fpn.proxy.bank import VERSION
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.streaming import Layout, Places, put, streamed_file
from nas_fpn.proxy.views import VIEWS, Seen, View, see

__all__ = ["Built", "build_bank"]

BATCH = 8  # images through the backbone at once: its early features are large
MEASURED = 256  # train images that mean and spread are measured on
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FLAT = 1e-6  # a channel with less spread is constant, and is not divided by it

ByLevel = Mapping[int, Tensor]


@dataclass(frozen=True, slots=True)
class Built:
    """How far a bank is: ``done`` of ``total`` images and views; the last has it at ``path``."""

    done: int
    total: int
    path: Path


def build_bank(
    folder: Path,
    *,
    backbone: Backbone,
    train: Dataset,
    val: Dataset,
    test: Dataset,
    settings: ProxySettings,
) -> Iterator[Built]:
    """Put the features of all images into one file of ``folder``; yield how far it is.

    The last value is the finished bank. If the folder holds one with the same key already, that
    is the only value. The key is a hash of the backbone with its weights, the images' bytes,
    the boxes, the image size, the views and the dtype. Train is stored in the first
    ``settings.views`` of ``VIEWS``, val and test as they are. Channels are standardised by the
    mean and spread of the train images as they are (of 256 of them, if there are more).
    Works where the backbone is, and leaves it in the mode it was in; memory holds one batch.
    Raises ``DataError`` for an image that cannot be decoded and for train without any box.
    """
    if not any((~crowd).any() for crowd in train.crowd):
        raise DataError("train: no image has a box to learn from; annotate some, or mend the JSON")
    if not train.categories == val.categories == test.categories:
        raise ValueError("train, val and test must have the same categories in the same order")
    sources = {
        "train": _Source(train, VIEWS[: settings.views], settings.image_size),
        "val": _Source(val, VIEWS[:1], settings.image_size),
        "test": _Source(test, VIEWS[:1], settings.image_size),
    }
    key = _key(backbone, sources, settings)
    path = folder / f"bank-{key[:16]}.safetensors"
    sample = _Source(_sample(train, MEASURED), VIEWS[:1], settings.image_size)
    total = sample.rows + sum(source.rows for source in sources.values())
    if not path.is_file():
        mode, done = backbone.training, 0
        backbone.eval()
        try:
            moments = _Moments()
            for batch in _batches(sample):
                moments.add(_features(backbone, batch))
                yield Built(done := done + len(batch.seen), total, path)
            facts = _facts(backbone, train, settings) | {"key": key}
            for count in _write(path, backbone, sources, moments=moments, facts=facts):
                done += count
                if done < total:  # the last value follows when the file has its name
                    yield Built(done, total, path)
        finally:
            backbone.train(mode)
    yield Built(total, total, path)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """The images of one split, and the views that they are stored in."""

    data: Dataset
    views: tuple[View, ...]
    image_size: int

    @property
    def rows(self) -> int:
        return len(self.data.images) * len(self.views)

    @property
    def most_boxes(self) -> int:
        return max(1, *(int((~crowd).sum()) for crowd in self.data.crowd))


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Images in one view: their rows in the split, their ids, and what is seen."""

    rows: slice
    image_ids: tuple[int, ...]
    seen: tuple[Seen, ...]


class _Moments:
    """Mean and spread of each channel, gathered batch by batch in double precision."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}

    def add(self, features: ByLevel) -> None:
        for level, feature in features.items():
            values = feature.double().transpose(0, 1).flatten(1)  # [C, B·H·W]
            parts = (torch.ones_like(values), values, values.square())
            sums = torch.stack([part.sum(1) for part in parts])  # [3, C]
            self.sums[level] = self.sums.get(level, torch.zeros_like(sums)) + sums

    def of(self, level: int) -> tuple[Tensor, Tensor]:
        """Mean and std, float32 [C]; a constant channel has a std of 1."""
        count, total, squares = self.sums[level]
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.float(), torch.where(std > FLAT, std, 1.0).float()


def _write(
    path: Path,
    backbone: Backbone,
    sources: Mapping[str, _Source],
    *,
    moments: _Moments,
    facts: Mapping[str, str],
) -> Iterator[int]:
    """Fill the file; yield the number of rows written since the last time."""
    dtype = DTYPES[facts["dtype"]]
    truth = {name: json.dumps(to_coco(sources[name].data)).encode() for name in ("val", "test")}
    scales = {level: moments.of(level) for level in backbone.levels}
    layout = _layout(backbone, sources, truth=truth, dtype=dtype)
    with streamed_file(path, layout, facts) as places:
        for name, text in truth.items():
            places[f"truth.{name}"][:] = np.frombuffer(text, np.uint8)
        for level, (mean, std) in scales.items():
            put(places[f"mean.{level}"], slice(None), mean)
            put(places[f"std.{level}"], slice(None), std)
        for name, source in sources.items():
            for batch in _batches(source):
                _put_truth(places, name, batch, most_boxes=source.most_boxes)
                for level, feature in _features(backbone, batch).items():
                    mean, std = scales[level]
                    standard = (feature - mean[:, None, None]) / std[:, None, None]
                    put(places[f"{name}.features.{level}"], batch.rows, standard.to(dtype))
                yield len(batch.seen)


def _batches(source: _Source) -> Iterator[_Batch]:
    """All rows of a split; an image is decoded once for all its views."""
    data, count = source.data, len(source.data.images)
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        seen = [_look(source, number) for number in numbers]
        ids = tuple(data.images[number].id for number in numbers)
        for view in range(len(source.views)):
            first = view * count + start
            in_view = tuple(views[view] for views in seen)
            yield _Batch(slice(first, first + len(ids)), ids, in_view)


def _look(source: _Source, number: int) -> list[Seen]:
    data, single = source.data, ~source.data.crowd[number]
    picture = open_image(data.images[number].path)
    boxes, labels = data.boxes[number][single], data.labels[number][single]
    size = source.image_size
    return [
        see(picture, boxes, labels, view=view, image_size=size, number=number)
        for view in source.views
    ]


@torch.no_grad()
def _features(backbone: Backbone, batch: _Batch) -> dict[int, Tensor]:
    images = torch.stack([seen.image for seen in batch.seen]).to(backbone.mean.device)
    images = images.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
    return {level: f.float().cpu() for level, f in backbone(images.float() / 255).items()}


def _put_truth(places: Places, name: str, batch: _Batch, *, most_boxes: int) -> None:
    boxes = torch.zeros(len(batch.seen), most_boxes, 4)
    labels = torch.full((len(batch.seen), most_boxes), -1)
    for row, seen in enumerate(batch.seen):
        boxes[row, : len(seen.labels)] = seen.boxes
        labels[row, : len(seen.labels)] = seen.labels
    put(places[f"{name}.boxes"], batch.rows, boxes)
    put(places[f"{name}.labels"], batch.rows, labels)
    put(places[f"{name}.image_ids"], batch.rows, torch.tensor(batch.image_ids))
    put(places[f"{name}.scales"], batch.rows, torch.tensor([seen.scale for seen in batch.seen]))


def _layout(
    backbone: Backbone,
    sources: Mapping[str, _Source],
    *,
    truth: Mapping[str, bytes],
    dtype: torch.dtype,
) -> Layout:
    layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    size = sources["train"].image_size
    blank = torch.zeros(1, 3, size, size, device=backbone.mean.device)
    with torch.no_grad():
        shapes = {level: feature.shape[1:] for level, feature in backbone(blank).items()}
    for name, source in sources.items():
        rows, boxes = source.rows, source.most_boxes
        layout |= {
            f"{name}.boxes": (torch.float32, (rows, boxes, 4)),
            f"{name}.labels": (torch.int64, (rows, boxes)),
            f"{name}.image_ids": (torch.int64, (rows,)),
            f"{name}.scales": (torch.float32, (rows,)),
        }
        for level, shape in shapes.items():
            layout[f"{name}.features.{level}"] = (dtype, (rows, *shape))
    for level, shape in shapes.items():
        layout[f"mean.{level}"] = layout[f"std.{level}"] = (torch.float32, (shape[0],))
    return layout | {f"truth.{name}": (torch.uint8, (len(text),)) for name, text in truth.items()}


def _facts(backbone: Backbone, train: Dataset, settings: ProxySettings) -> dict[str, str]:
    return {
        "bank": VERSION,
        "backbone": backbone.settings.name,
        "channels": json.dumps(backbone.channels),
        "image_size": str(settings.image_size),
        "categories": json.dumps([(c.id, c.name) for c in train.categories]),
        "views": json.dumps([view.name for view in VIEWS[: settings.views]]),
        "dtype": settings.dtype,
    }


def _key(backbone: Backbone, sources: Mapping[str, _Source], settings: ProxySettings) -> str:
    digest = hashlib.sha256()
    digest.update(repr((VERSION, backbone.fingerprint(), settings.image_size)).encode())
    digest.update(repr((settings.dtype, VIEWS[: settings.views])).encode())
    for name, source in sources.items():
        data = source.data
        digest.update(repr((name, [(c.id, c.name) for c in data.categories])).encode())
        for image, *arrays in zip(
            data.images, data.boxes, data.labels, data.crowd, data.areas, strict=True
        ):
            with image.path.open("rb") as file:
                pixels = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(repr((image.id, image.width, image.height, pixels)).encode())
            for array in arrays:
                digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def _sample(data: Dataset, most: int) -> Dataset:
    """At most ``most`` images, evenly spread over the data."""
    count = len(data.images)
    chosen = [count * i // most for i in range(most)] if count > most else list(range(count))
    return take(data, chosen)
