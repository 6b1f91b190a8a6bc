"""From what a dense head says to boxes in the pixels of the original images, a batch at once.

As in FCOS (arXiv:1904.01355) and torchvision: the best cells of each level, then non-maximum
suppression per image and class.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from nas_fpn.detect.boxes import Grid, distances_to_boxes
from nas_fpn.detect.evaluate import Detections
from nas_fpn.detect.head import Predictions

__all__ = ["best_of_levels", "decode", "suppress"]


def decode(
    predictions: Predictions,
    grid: Grid,
    *,
    image_ids: Tensor,
    scales: Tensor,
    sizes: Tensor,
    threshold: float = 0.05,
    top_k: int = 300,
    overlap: float = 0.6,
    most: int = 100,
) -> Detections:
    """The detections of B images, on the CPU, image after image, best first.

    ``image_ids`` int64 [B]; ``scales`` [B], network pixels per original pixel; ``sizes`` [B, 2],
    the original width and height, which boxes are clipped to. A detection's score is
    sqrt(class · centre-ness), above ``threshold``; ``top_k`` of each level and image go into the
    suppression of boxes of one class with an IoU above ``overlap``; ``most`` per image stay.
    Boxes that are empty after clipping are left out.
    """
    chance = predictions.logits.float().sigmoid()  # [B, P, K]
    score = (chance * predictions.centreness.float().sigmoid()[..., None]).sqrt()
    reach = distances_to_boxes(predictions.distances.float(), grid.points, grid.strides)
    return suppress(
        *best_of_levels(score, reach, grid.counts, top_k=top_k),
        num_classes=score.shape[2],
        image_ids=image_ids,
        scales=scales,
        sizes=sizes,
        threshold=threshold,
        overlap=overlap,
        most=most,
    )


def suppress(
    scores: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    image_ids: Tensor,
    scales: Tensor,
    sizes: Tensor,
    threshold: float,
    overlap: float,
    most: int,
) -> Detections:
    """Candidates [B, T], [B, T, 4] in network pixels, [B, T] to detections; as :func:`decode`."""
    image_size = sizes[:, None, :].to(boxes).repeat(1, 1, 2)  # [B, 1, 4]: width, height, twice
    boxes = torch.minimum((boxes / scales[:, None, None].to(boxes)).clamp(min=0), image_size)
    size = boxes[..., 2:] - boxes[..., :2]
    image, place = ((scores > threshold) & (size > 0).all(dim=2)).nonzero(as_tuple=True)
    scores, boxes, labels = scores[image, place], boxes[image, place], labels[image, place]
    group = image * num_classes + labels
    keep = batched_nms(boxes, scores, group, overlap)  # best first over all images
    keep = keep[image[keep].argsort(stable=True)]
    keep = keep[_rank_in_run(image[keep]) < most]
    return Detections(
        image_ids=image_ids[image[keep].cpu()],
        boxes=boxes[keep].cpu(),
        scores=scores[keep].cpu(),
        labels=labels[keep].cpu(),
    )


def best_of_levels(
    score: Tensor, boxes: Tensor, counts: tuple[int, ...], *, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best of each level: scores [B, T], boxes [B, T, 4], labels [B, T].

    ``score`` [B, P, K] and ``boxes`` [B, P, 4] are of all levels, ``counts`` of each.
    """
    classes = score.shape[2]
    levels = []
    for level_score, level_boxes in zip(
        score.split(counts, dim=1), boxes.split(counts, dim=1), strict=True
    ):
        flat = level_score.flatten(1)  # [B, H*W*K]
        best, index = flat.topk(min(top_k, flat.shape[1]), dim=1)
        cell = (index // classes)[..., None].expand(-1, -1, 4)
        levels.append((best, level_boxes.gather(1, cell), index % classes))
    scores, chosen, labels = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
    return scores, chosen, labels


def _rank_in_run(sorted_values: Tensor) -> Tensor:
    """For each entry of a sorted vector, how many equal ones stand before it."""
    place = torch.arange(len(sorted_values), device=sorted_values.device)
    return place - torch.searchsorted(sorted_values, sorted_values)
