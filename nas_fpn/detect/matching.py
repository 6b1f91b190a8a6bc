"""Detections matched to the truth once, so that AP can be asked again for other weights of images.

A bootstrap over images asks for the AP of a test set in which some images stand twice and others
not at all. Matching is by image and does not change with that: it is done once, by the rule of the
COCO evaluation, and AP becomes a function of one weight per image. With weights 1 it is that of
:func:`nas_fpn.detect.average_precision`; with whole numbers, that of the images so often repeated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval.core.mask import iou
from numpy.typing import ArrayLike, NDArray

from nas_fpn.detect.dataset import Category
from nas_fpn.detect.evaluate import Detections

__all__ = ["ClassMatches", "Matches", "match_detections", "weighted_ap", "weighted_aps"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[np.int64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU, T of them
RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is read off
MOST = 100  # detections of a class on an image, the best ones
AREAS = {  # in pixels of the stored image; from .. to, both included
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
CHUNK = 256  # rows of weights at a time: bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """The n detections of one class, best score first, as objects of one range of areas judge them.

    ``images`` int64 [n] are places in ``Matches.image_ids``; ``hits`` bool [T, n]: found an object
    at this threshold; ``ignored`` bool [T, n]: counts neither for nor against; ``objects`` int64
    [images]: how many there are to find.
    """

    images: Places
    hits: Flags
    ignored: Flags
    objects: Places


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All that AP needs of a detector on a test set.

    ``image_ids`` ascend, and weights follow them. ``classes`` are by range of areas ("all",
    "small", "medium", "large"), in the order of ``names``, those of the categories.
    """

    image_ids: tuple[int, ...]
    names: tuple[str, ...]
    classes: Mapping[str, tuple[ClassMatches, ...]]


def match_detections(
    truth: Mapping[str, Any], detections: Detections, *, categories: Sequence[Category]
) -> Matches:
    """Match detections to a COCO document as the COCO evaluation does, for every range of areas.

    The best score chooses first, and takes the object of the largest IoU that is still free; a
    crowd is never taken. What only a crowd, or an object outside the range, accounts for is
    ignored; so is what finds nothing and is itself outside the range.
    """
    image_ids = tuple(sorted(row["id"] for row in truth["images"]))
    boxes = detections.boxes.detach().cpu().double().numpy().copy()
    boxes[:, 2:] -= boxes[:, :2]
    scores = detections.scores.detach().cpu().double().numpy()
    found = _grouped(
        zip(detections.image_ids.tolist(), detections.labels.tolist(), strict=True),
        range(len(scores)),
    )
    places = {category.id: label for label, category in enumerate(categories)}
    objects = _grouped(
        ((row["image_id"], places[row["category_id"]]) for row in truth["annotations"]),
        truth["annotations"],
    )
    classes: dict[str, list[ClassMatches]] = {area: [] for area in AREAS}
    for label in range(len(categories)):
        images = []
        for place, image_id in enumerate(image_ids):
            rows = np.array(found.get((image_id, label), []), np.int64)
            rows = rows[np.argsort(-scores[rows], kind="stable")][:MOST]
            wanted = objects.get((image_id, label), [])
            images.append(_Image(place, boxes[rows], scores[rows], wanted))
        for area, limits in AREAS.items():
            classes[area].append(_matched(images, limits))
    return Matches(
        image_ids,
        tuple(category.name for category in categories),
        {area: tuple(some) for area, some in classes.items()},
    )


def weighted_ap(matches: Matches, weights: ArrayLike, *, score: str = "ap") -> float:
    """One score, each image counted by its weight [images]; NaN where there is nothing to find.

    ``score`` is a name as in :func:`nas_fpn.detect.average_precision`: ap, ap50, ap75, ap_small,
    ap_medium, ap_large, or ap/<class>.
    """
    return float(weighted_aps(matches, np.asarray(weights, np.float64)[None], score=score)[0])


def weighted_aps(matches: Matches, weights: ArrayLike, *, score: str = "ap") -> Array:
    """The same for many weightings at once: ``weights`` [B, images] give scores [B].

    A class that a weighting leaves without an object is left out of its mean, as the COCO
    evaluation leaves out a class that the test set has no object of. Raises ValueError for an
    unknown score, and for weights that are negative or of another number of images.
    """
    rows = np.asarray(weights, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(matches.image_ids) or (rows < 0).any():
        raise ValueError(
            f"weights must be numbers from 0 on, [B, {len(matches.image_ids)}], one for each "
            f"image, but have the shape {rows.shape}"
        )
    classes, thresholds = _asked(matches, score)
    parts = [
        np.stack([_class_aps(one, rows[i : i + CHUNK], thresholds) for one in classes])
        for i in range(0, len(rows), CHUNK)
    ]
    by_class = np.concatenate(parts, axis=1)  # [classes, B]
    known = ~np.isnan(by_class)
    total, count = np.where(known, by_class, 0.0).sum(0), known.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, slots=True)
class _Image:
    """Detections (x, y, width, height; best first) and objects of one class on one image."""

    place: int
    boxes: Array
    scores: Array
    objects: Sequence[Mapping[str, Any]]


def _grouped(keys: Any, values: Any) -> dict[tuple[int, int], list[Any]]:
    groups: dict[tuple[int, int], list[Any]] = {}
    for key, value in zip(keys, values, strict=True):
        groups.setdefault(key, []).append(value)
    return groups


def _matched(images: Sequence[_Image], limits: tuple[float, float]) -> ClassMatches:
    hits, ignored, counts = [], [], []
    for image in images:
        own_hits, own_ignored, count = _match_image(image, limits)
        hits.append(own_hits)
        ignored.append(own_ignored)
        counts.append(count)
    scores = np.concatenate([image.scores for image in images])
    order = np.argsort(-scores, kind="stable")
    places = np.repeat([image.place for image in images], [len(image.scores) for image in images])
    return ClassMatches(
        places[order].astype(np.int64),
        np.concatenate(hits, axis=1)[:, order],
        np.concatenate(ignored, axis=1)[:, order],
        np.array(counts, np.int64),
    )


def _match_image(image: _Image, limits: tuple[float, float]) -> tuple[Flags, Flags, int]:
    """Hits and ignored [T, D] of one image, and how many objects count."""
    low, high = limits
    sizes = image.boxes[:, 2] * image.boxes[:, 3]
    outside: Flags = (sizes < low) | (sizes > high)
    shape = (len(THRESHOLDS), len(sizes))
    crowd = np.array([bool(row.get("iscrowd", 0)) for row in image.objects], bool)
    areas = np.array([float(row["area"]) for row in image.objects])
    apart: Flags = crowd | (areas < low) | (areas > high)  # may be found, but count for nothing
    hits, ignored = np.zeros(shape, bool), np.broadcast_to(outside, shape).copy()
    if not image.objects or not len(sizes):
        return hits, ignored, int((~apart).sum())
    truth = np.array([row["bbox"] for row in image.objects], np.float64)
    overlaps = np.asarray(iou(image.boxes, truth, crowd.astype(np.uint8).tolist()))  # [D, G]
    free = np.ones((len(THRESHOLDS), len(truth)), bool)
    enough = overlaps[None] >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None, None]  # [T, D, G]
    levels = np.arange(len(THRESHOLDS))
    for d in np.flatnonzero(enough[0].any(1)):
        open_to = enough[:, d] & free  # [T, G]
        counting = open_to & ~apart
        wanted = np.where(counting.any(axis=1, keepdims=True), counting, open_to)
        # Of equal overlaps the evaluation takes the last.
        reversed_overlaps = np.where(wanted, overlaps[d], -1.0)[:, ::-1]
        chosen = len(truth) - 1 - reversed_overlaps.argmax(1)  # [T]
        matched = wanted.any(1)
        hits[:, d] = matched & ~apart[chosen]
        ignored[:, d] = np.where(matched, apart[chosen], outside[d])
        taken = matched & ~crowd[chosen]
        free[levels[taken], chosen[taken]] = False
    return hits, ignored, int((~apart).sum())


def _asked(matches: Matches, score: str) -> tuple[Sequence[ClassMatches], Sequence[int]]:
    every = range(len(THRESHOLDS))
    if score.startswith("ap/") and score[3:] in matches.names:
        return [matches.classes["all"][matches.names.index(score[3:])]], every
    known: dict[str, tuple[str, Sequence[int]]] = {
        "ap": ("all", every),
        "ap50": ("all", [0]),
        "ap75": ("all", [5]),
        **{f"ap_{area}": (area, every) for area in AREAS if area != "all"},
    }
    if score not in known:
        names = ", ".join([*known, *(f"ap/{name}" for name in matches.names)])
        raise ValueError(f"no score {score!r}; there are {names}")
    area, thresholds = known[score]
    return matches.classes[area], thresholds


def _class_aps(one: ClassMatches, weights: Array, thresholds: Sequence[int]) -> Array:
    """AP of one class [B], meaned over thresholds; NaN where no object has a weight."""
    objects = weights @ one.objects
    by_detection = weights[:, one.images]  # [B, n]
    has_ignored = bool(one.ignored.any())
    counted = by_detection.cumsum(1)
    total = np.zeros(len(weights))
    for t in thresholds:
        if has_ignored:
            counted = (by_detection * ~one.ignored[t]).cumsum(1)
        # Precision is read off at hits alone: between them it falls and recall stands.
        hits = np.flatnonzero(one.hits[t])
        found = by_detection[:, hits].cumsum(1)
        precision = found / (counted[:, hits] + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = found / objects[:, None]
        padded = np.concatenate((envelope, np.zeros((len(weights), 1))), axis=1)
        for b in range(len(weights)):
            total[b] += padded[b, np.searchsorted(recall[b], RECALLS)].mean()
    return np.where(objects > 0, total / len(thresholds), np.nan)
