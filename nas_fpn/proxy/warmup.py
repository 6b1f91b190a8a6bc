"""Training on images, backbone included: to warm up a backbone, and as the end-to-end benchmark.

A backbone without weights is first trained with a neck and the dense head, then frozen. The
images of the warm-up must not be served by the bank: a backbone's features of images that it has
learnt by heart mislead every candidate. Head, losses and loop are those of the proxy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas_fpn.detect.anchor_detector import AnchorDetector
from nas_fpn.detect.dataset import Category, Dataset, to_coco
from nas_fpn.detect.detector import Detector, Pyramid
from nas_fpn.detect.images import load_image
from nas_fpn.proxy.optimise import Schedule, draw_order, optimise
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.proxy.train import make_detector, pick_device, proxy_schedule
from nas_fpn.proxy.validate import Batch, validate
from nas_fpn.record import Report

__all__ = ["Images", "load_images", "train_end_to_end", "warm_up"]

WARMUP_REPORTS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A data set in memory, N images letterboxed into squares of S.

    ``pixels`` uint8 [N, 3, S, S]; ``boxes`` [N, M, 4] in network pixels, padded with zeros, and
    ``labels`` int64 [N, M], padded with -1, without crowds; ``image_ids`` int64 [N]; ``scales``
    [N], network pixels per pixel of the file. ``truth`` is the data set as a COCO document.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    image_ids: Tensor
    scales: Tensor
    truth: Mapping[str, Any]
    categories: tuple[Category, ...]


def warm_up(
    backbone: nn.Module,
    neck: Pyramid,
    images: Images,
    settings: ProxySettings,
    backbone_settings: BackboneSettings,
    *,
    seed: int,
) -> Iterator[Report]:
    """Train ``backbone`` in place with ``neck`` and a head that are then thrown away.

    ``backbone`` takes images [B, 3, S, S] in 0..1 and gives features by level. Its scores are
    "loss" only. Freezing it is the caller's.
    """
    schedule = Schedule(
        steps=backbone_settings.warmup_steps,
        learning_rate=backbone_settings.warmup_learning_rate,
        weight_decay=backbone_settings.warmup_weight_decay,
        evaluations=WARMUP_REPORTS,
        clip=settings.clip,
    )
    detector = make_detector(
        neck, settings, num_classes=len(images.categories), seed=seed, backbone=backbone
    ).to(pick_device(settings.device))
    yield from _train(
        detector, images, schedule, batch_size=backbone_settings.warmup_batch_size, seed=seed
    )


def train_end_to_end(
    backbone: nn.Module,
    neck: Pyramid,
    images: Images,
    settings: ProxySettings,
    *,
    held_out: Images,
    seed: int,
) -> Iterator[Report]:
    """Train backbone, neck and head together, in place; score them on ``held_out``.

    The scores are those of the proxy's ``train``; steps, rates, head and device are those of
    ``settings``. Raises as ``train`` does.
    """
    detector = make_detector(
        neck, settings, num_classes=len(images.categories), seed=seed, backbone=backbone
    ).to(pick_device(settings.device))
    yield from _train(
        detector,
        images,
        proxy_schedule(settings),
        batch_size=settings.batch_size,
        seed=seed,
        held_out=held_out,
    )


def load_images(dataset: Dataset, image_size: int) -> Images:
    """Decode a data set into memory: 3 · image_size² bytes an image."""
    loaded = [load_image(image.path, image_size) for image in dataset.images]
    scales = torch.tensor([scale for _, scale in loaded])
    kept = [~crowd for crowd in dataset.crowd]
    boxes = [b[k] for b, k in zip(dataset.boxes, kept, strict=True)]
    labels = [one[k] for one, k in zip(dataset.labels, kept, strict=True)]
    most = max(1, *map(len, labels))
    padded_boxes = torch.zeros(len(boxes), most, 4)
    padded_labels = torch.full((len(boxes), most), -1)
    for row, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        padded_boxes[row, : len(box)] = torch.from_numpy(np.array(box)) * scales[row]
        padded_labels[row, : len(label)] = torch.from_numpy(np.array(label))
    return Images(
        pixels=torch.stack([pixels for pixels, _ in loaded]),
        boxes=padded_boxes,
        labels=padded_labels,
        image_ids=torch.tensor([image.id for image in dataset.images]),
        scales=scales,
        truth=to_coco(dataset),
        categories=dataset.categories,
    )


def flip(pixels: Tensor, boxes: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror the images [B, 3, S, S] and boxes [B, M, 4] that ``which``, bool [B], says."""
    x0, y0, x1, y1 = boxes.unbind(dim=2)
    mirrored = torch.stack((pixels.shape[3] - x1, y0, pixels.shape[3] - x0, y1), dim=2)
    return (
        torch.where(which[:, None, None, None], pixels.flip(3), pixels),
        torch.where(which[:, None, None], mirrored, boxes),
    )


def _train(
    detector: Detector | AnchorDetector,
    images: Images,
    schedule: Schedule,
    *,
    batch_size: int,
    seed: int,
    held_out: Images | None = None,
) -> Iterator[Report]:
    device = next(detector.parameters()).device
    pixels, boxes, labels = (t.to(device) for t in (images.pixels, images.boxes, images.labels))
    order = draw_order(len(pixels), 1, batch_size=batch_size, steps=schedule.steps, seed=seed)
    mirror = torch.rand(order.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    order, mirror = order.to(device), mirror.to(device)

    def loss(step: int) -> Tensor:
        rows = order[step]
        batch, truth = flip(pixels[rows], boxes[rows], mirror[step])
        return detector.losses(batch.float() / 255, truth, labels[rows]).total

    def evaluate() -> dict[str, float]:
        if held_out is None:
            return {}
        return validate(
            detector,
            _batches(held_out, batch_size, device),
            truth=held_out.truth,
            categories=held_out.categories,
        )

    detector.to(memory_format=torch.channels_last)  # a third faster on a CPU
    try:
        yield from optimise(detector, schedule, loss=loss, evaluate=evaluate)
    finally:
        detector.to(memory_format=torch.contiguous_format)


def _batches(images: Images, size: int, device: torch.device) -> Iterator[Batch]:
    for start in range(0, len(images.pixels), size):
        rows = slice(start, start + size)
        pixels = images.pixels[rows].to(device).float() / 255
        yield pixels, images.image_ids[rows], images.scales[rows]
