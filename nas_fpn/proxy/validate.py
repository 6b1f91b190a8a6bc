"""AP of a detector on a split: predict, decode, compare."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nas_fpn.detect.anchor_detector import AnchorDetector
from nas_fpn.detect.dataset import Category
from nas_fpn.detect.detector import Detector
from nas_fpn.detect.evaluate import Detections, average_precision

__all__ = ["Batch", "validate"]

Batch = tuple[Tensor | Mapping[int, Tensor], Tensor, Tensor]


@torch.no_grad()
def validate(
    detector: Detector | AnchorDetector,
    batches: Iterable[Batch],
    *,
    truth: Mapping[str, Any],
    categories: Sequence[Category],
) -> dict[str, float]:
    """Scores of a detector in evaluation mode: those of :func:`average_precision`.

    A batch is the detector's inputs, the images' ids int64 [B] and their scales [B], network
    pixels per original pixel; ``truth`` is the split's COCO document, which knows the sizes.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    found = []
    for inputs, image_ids, scales in batches:
        shapes = torch.tensor([sizes[i] for i in image_ids.tolist()])
        found.append(detector.detect(inputs, image_ids=image_ids, scales=scales, sizes=shapes))
    return average_precision(truth, _joined(found), categories=categories)


def _joined(parts: Sequence[Detections]) -> Detections:
    return Detections(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("image_ids", "boxes", "scores", "labels")
        )
    )
