"""From what a dense head says to boxes in the pixels of the original images, a batch at once.

As in FCOS (arXiv:1904.01355) and torchvision: the best cells of each level, then non-maximum
suppression per image and class. Elsewhere than on a CPU three values are waited for in a batch: how
many candidates there are, how many stay, and the detections themselves, in one piece.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

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
    keep = apart_nms(boxes, scores, image * num_classes + labels, overlap)
    kept = (boxes, scores[:, None], labels[:, None], image[:, None])
    rows = torch.cat([part.to(boxes) for part in kept], dim=1)[keep].cpu()  # [n, 7]
    image = rows[:, 6].long()
    order = image.argsort(stable=True)  # best first over all images until here
    order = order[_rank_in_run(image[order]) < most]
    rows = rows[order]
    return Detections(
        image_ids=image_ids[rows[:, 6].long()],
        boxes=rows[:, :4].contiguous(),
        scores=rows[:, 4].contiguous(),
        labels=rows[:, 5].long(),
    )


def apart_nms(boxes: Tensor, scores: Tensor, group: Tensor, overlap: float) -> Tensor:
    """Non-maximum suppression within each group: the places that stay, best first.

    ``boxes`` [n, 4] begin at 0 or beyond; ``scores`` [n]; ``group`` int64 [n].
    """
    if boxes.device.type == "cpu":
        kept: Tensor = batched_nms(
            boxes, scores, group, overlap
        )  # group by group if there are many
        return kept
    return shifted_nms(boxes, scores, group, overlap)


def shifted_nms(boxes: Tensor, scores: Tensor, group: Tensor, overlap: float) -> Tensor:
    """:func:`apart_nms` in one call, each group shifted to a place of its own.

    In 64 bits: torchvision shifts in 32, in which boxes of thousands of groups lose their
    fractions, and from 25,000 boxes on it goes group by group.
    """
    exact = boxes.double()
    span = exact.max() + 1 if len(exact) else 1.0
    kept: Tensor = nms(exact + (group.double() * span)[:, None], scores.double(), overlap)
    return kept


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
