"""Building the bank: every image through the frozen backbone once, in every view."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas_fpn.detect.dataset import Dataset, spread_evenly, take, to_coco
from nas_fpn.errors import DataError
from nas_fpn.proxy.backbone import Backbone
from nas_fpn.proxy.bank import VERSION
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.sources import Batch, Source, batches
from nas_fpn.proxy.streaming import Layout, Places, put, streamed_file
from nas_fpn.proxy.views import VIEWS, Seen

__all__ = ["Built", "Fold", "build_bank"]

MEASURED = 256  # train images that mean and spread are measured on
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FLAT = 1e-6  # a channel with less spread is constant, and is not divided by it

ByLevel = Mapping[int, Tensor]
_Scales = dict[int, tuple[Tensor, Tensor]]  # mean and std [C] by level


@dataclass(frozen=True, slots=True)
class Built:
    """How far a bank is: ``done`` of ``total`` images and views; the last has it at ``path``."""

    done: int
    total: int
    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Images of train, by their places in it, and the backbone that gives their features."""

    backbone: Backbone
    images: tuple[int, ...]


def build_bank(
    folder: Path,
    *,
    backbone: Backbone | Sequence[Fold],
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

    Several folds hold each image of train once: its features are those of its own fold's backbone,
    standardised by the mean and spread of that fold's images. Val and test are seen by the backbone
    of the first fold, and the bank's mean and spread are that one's.

    Works where the backbone is, and leaves it in the mode it was in; memory holds one batch.
    Raises ``DataError`` for an image that cannot be decoded and for train without any box.
    """
    if not any((~crowd).any() for crowd in train.crowd):
        raise DataError("train: no image has a box to learn from; annotate some, or mend the JSON")
    if not train.categories == val.categories == test.categories:
        raise ValueError("train, val and test must have the same categories in the same order")
    sources = {
        "train": Source(train, VIEWS[: settings.views], settings.image_size),
        "val": Source(val, VIEWS[:1], settings.image_size),
        "test": Source(test, VIEWS[:1], settings.image_size),
    }
    folds = _folds(backbone, len(train.images))
    key = _key(folds, sources, settings)
    path = folder / f"bank-{key[:16]}.safetensors"
    samples = [
        Source(spread_evenly(take(train, fold.images), MEASURED), VIEWS[:1], settings.image_size)
        for fold in folds
    ]
    total = sum(source.rows for source in (*samples, *sources.values()))
    if not path.is_file():
        modes, done = [fold.backbone.training for fold in folds], 0
        for fold in folds:
            fold.backbone.eval()
        try:
            scales: list[_Scales] = []
            for fold, sample in zip(folds, samples, strict=True):
                moments = _Moments()
                for batch in batches(sample):
                    moments.add(_features(fold.backbone, batch.seen))
                    yield Built(done := done + len(batch.seen), total, path)
                scales.append({level: moments.of(level) for level in fold.backbone.levels})
            facts = _facts(folds[0].backbone, train, settings) | {"key": key}
            for count in _write(path, folds, sources, scales=scales, facts=facts):
                done += count
                if done < total:  # the last value follows when the file has its name
                    yield Built(done, total, path)
        finally:
            for fold, mode in zip(folds, modes, strict=True):
                fold.backbone.train(mode)
    yield Built(total, total, path)


def _folds(backbone: Backbone | Sequence[Fold], images: int) -> tuple[Fold, ...]:
    """The folds, of one backbone one; they must hold every image once."""
    if isinstance(backbone, Backbone):
        return (Fold(backbone, tuple(range(images))),)
    folds = tuple(backbone)
    if sorted(place for fold in folds for place in fold.images) != list(range(images)):
        raise ValueError(f"folds must hold each of the {images} images of train once")
    return folds


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
    folds: Sequence[Fold],
    sources: Mapping[str, Source],
    *,
    scales: Sequence[_Scales],
    facts: Mapping[str, str],
) -> Iterator[int]:
    """Fill the file; yield the number of rows written since the last time."""
    dtype = DTYPES[facts["dtype"]]
    truth = {name: json.dumps(to_coco(sources[name].data)).encode() for name in ("val", "test")}
    fold_of = {place: number for number, fold in enumerate(folds) for place in fold.images}
    layout = _layout(folds[0].backbone, sources, truth=truth, dtype=dtype)
    with streamed_file(path, layout, facts) as places:
        for name, text in truth.items():
            places[f"truth.{name}"][:] = np.frombuffer(text, np.uint8)
        for level, (mean, std) in scales[0].items():
            put(places[f"mean.{level}"], slice(None), mean)
            put(places[f"std.{level}"], slice(None), std)
        for name, source in sources.items():
            for batch in batches(source):
                _put_truth(places, name, batch, most_boxes=source.most_boxes)
                seen_by = [fold_of[n] if name == "train" else 0 for n in batch.numbers]
                for level, feature in _standardised(batch, folds, scales, seen_by).items():
                    put(places[f"{name}.features.{level}"], batch.rows, feature.to(dtype))
                yield len(batch.seen)


def _standardised(
    batch: Batch, folds: Sequence[Fold], scales: Sequence[_Scales], seen_by: Sequence[int]
) -> dict[int, Tensor]:
    """The features of a batch as (x - mean) / std, each image by the fold that it is seen by."""
    found: dict[int, Tensor] = {}
    for number in sorted(set(seen_by)):
        rows = [row for row, fold in enumerate(seen_by) if fold == number]
        seen = [batch.seen[row] for row in rows]
        for level, feature in _features(folds[number].backbone, seen).items():
            mean, std = scales[number][level]
            standard = (feature - mean[:, None, None]) / std[:, None, None]
            whole = found.setdefault(level, standard.new_empty(len(seen_by), *standard.shape[1:]))
            whole[rows] = standard
    return found


@torch.no_grad()
def _features(backbone: Backbone, seen: Sequence[Seen]) -> dict[int, Tensor]:
    images = torch.stack([one.image for one in seen]).to(backbone.mean.device)
    images = images.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
    return {level: f.float().cpu() for level, f in backbone(images.float() / 255).items()}


def _put_truth(places: Places, name: str, batch: Batch, *, most_boxes: int) -> None:
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
    sources: Mapping[str, Source],
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


def _key(folds: Sequence[Fold], sources: Mapping[str, Source], settings: ProxySettings) -> str:
    digest = hashlib.sha256()
    first = folds[0].backbone.fingerprint()
    digest.update(repr((VERSION, first, settings.image_size)).encode())
    if len(folds) > 1:
        parts = [(fold.backbone.fingerprint(), fold.images) for fold in folds]
        digest.update(repr(parts).encode())
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
