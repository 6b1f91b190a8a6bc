"""Average precision as COCO defines it, by faster-coco-eval.

Its numbers equal those of pycocotools; here they get names, and what has no ground truth gets
no number instead of -1.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor

from nas_fpn.detect.dataset import Category

__all__ = ["Detections", "average_precision"]

# name: (IoU threshold or None for the mean over 0.5:0.05:0.95, area range)
SCORES: Mapping[str, tuple[float | None, str]] = {
    "ap": (None, "all"),
    "ap50": (0.5, "all"),
    "ap75": (0.75, "all"),
    "ap_small": (None, "small"),
    "ap_medium": (None, "medium"),
    "ap_large": (None, "large"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a detector says about a set of images; row i of each tensor is one detection.

    ``image_ids`` int64 [n], COCO ids; ``boxes`` float32 [n, 4], x1 y1 x2 y2 in pixels of the
    stored image; ``scores`` float32 [n] in 0..1; ``labels`` int64 [n], indices into the
    categories.
    """

    image_ids: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor


def average_precision(
    truth: Mapping[str, Any], detections: Detections, *, categories: Sequence[Category]
) -> dict[str, float]:
    """Score detections against a COCO document: ap, ap50, ap75, ap_small …, ap/<class>.

    Values lie in 0..1. A key is left out where the document has no box to find (an area range
    or a class without ground truth; crowds do not count), so there is no -1 and no NaN; found
    nothing is 0.0. The class in ``ap/<class>`` is the category's name as it is, spaces and
    slashes included. Areas count in pixels of the stored images, up to 100 detections an image.
    """
    # Both classes note their fields into what they are given: hand them copies of the rows.
    with _uncollected():
        truth_set = COCO(
            {
                "images": list(truth["images"]),
                "annotations": [dict(row) for row in truth["annotations"]],
                "categories": list(truth["categories"]),
            }
        )
        evaluation = COCOeval_faster(
            truth_set, truth_set.loadRes(_rows(detections, categories)), "bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [T, R, K, A, M]: IoU, recall, class, area, maximum
    settings = evaluation.params
    scores: dict[str, float] = {}
    for name, (threshold, area) in SCORES.items():
        part = precision[:, :, :, settings.areaRngLbl.index(area), -1]  # [T, R, K]
        if threshold is not None:
            part = part[np.isclose(settings.iouThrs, threshold)]
        scores |= _mean(name, part)
    for category in categories:
        column = settings.catIds.index(category.id)
        scores |= _mean(f"ap/{category.name}", precision[:, :, column, 0, -1])
    return scores


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected meanwhile.

    The rows are many, have no cycles, and each so many of them would have Python look through all
    that torch and its friends have loaded: two thirds of the time of a small evaluation.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _rows(detections: Detections, categories: Sequence[Category]) -> list[dict[str, Any]]:
    boxes = detections.boxes.detach().cpu().double().clone()
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {"image_id": image_id, "category_id": categories[label].id, "bbox": box, "score": score}
        for image_id, box, score, label in zip(
            detections.image_ids.tolist(),
            boxes.tolist(),
            detections.scores.tolist(),
            detections.labels.tolist(),
            strict=True,
        )
    ]


def _mean(name: str, precision: np.ndarray) -> dict[str, float]:
    known = precision[precision > -1]  # -1 marks a class without ground truth
    return {name: float(known.mean())} if known.size else {}
