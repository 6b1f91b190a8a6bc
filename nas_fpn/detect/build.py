"""From the settings of a detector, a backbone and a neck to a torchvision detector."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from nas_fpn.detect.body import BackboneWithNeck
from nas_fpn.detect.one_stage import make_fcos, make_retinanet, make_ssd
from nas_fpn.detect.recursive import RecursiveBackboneWithNeck, make_switchable
from nas_fpn.detect.settings import TOWERS, DetectorSettings, Kind
from nas_fpn.detect.two_stage import make_faster_rcnn, supervise_laterals, take_proposals

__all__ = ["build_detector", "heads_of", "inference_settings"]

NMS: Mapping[Kind, float] = {
    "fcos": 0.6,
    "retinanet": 0.5,
    "ssd": 0.45,
    "faster_rcnn": 0.5,
    "fast_rcnn": 0.5,
}
Body = BackboneWithNeck | RecursiveBackboneWithNeck


def build_detector(
    settings: DetectorSettings,
    backbone: nn.Module,
    neck: nn.Module,
    *,
    num_classes: int,
    image_size: int,
    seed: int,
) -> nn.Module:
    """Put backbone, neck and heads together in one of torchvision's detectors.

    ``backbone`` takes images [B, 3, S, S] in 0..1 to features by level and says its ``levels``; it
    normalises inside. ``neck`` is a :class:`nas_fpn.detect.detector.Pyramid`.
    Both become parts of the detector, not copies. The heads start from ``seed`` alone, and torch's
    global generator is left as it was; in training, torchvision's samplers of both R-CNNs
    draw from the global one.

    Training, ``model(images, targets)`` gives a dict of losses: images are [3, H, W] in 0..1 and
    brought to ``image_size`` square; targets have ``boxes`` [n, 4] (x0, y0, x1, y1) in pixels
    and ``labels`` [n], a class index of 0..num_classes - 1 plus
    :func:`nas_fpn.detect.settings.label_offset`. In evaluation, ``model(images)`` gives ``boxes``,
    ``scores`` and ``labels`` for each image. Kind ``fast_rcnn`` wants targets with ``proposals`` in
    both (:mod:`nas_fpn.detect.given`). The neck is ``model.backbone.neck``. A state dict begins
    ``backbone.body.`` for the backbone and ``backbone.neck.`` for the neck, or, of
    recursive ones, ``backbone.recursive.`` for both.

    A neck with one level, as ``p5 = c5 -> conv1``, gives a detector on one scale: the control of
    what a pyramid brings. Raises ValueError where neck, backbone and kind do not fit.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, but got {num_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if settings.switchable:
            make_switchable(backbone)
        body = _body(settings, backbone, neck, seed=seed)
        if settings.kind in ("faster_rcnn", "fast_rcnn"):
            return _two_stage(
                settings, body, num_classes=num_classes, image_size=image_size, seed=seed
            )
        return _one_stage(settings, body, num_classes=num_classes, image_size=image_size)


def inference_settings(settings: DetectorSettings) -> DetectorSettings:
    """The settings of the same detector without what only training needs.

    What they build takes :func:`nas_fpn.detect.consistent.inference_state_dict` whole.
    """
    return settings.model_copy(update={"consistent": 0.0, "laterals": ()})


def _body(settings: DetectorSettings, backbone: nn.Module, neck: nn.Module, *, seed: int) -> Body:
    if settings.recursive_steps == 1:
        ragged = settings.kind == "ssd"
        return BackboneWithNeck(backbone, neck, width=settings.width, ragged=ragged)
    return RecursiveBackboneWithNeck(
        backbone,
        neck,
        steps=settings.recursive_steps,
        feedback_width=settings.recursive_width,
        shared=settings.recursive_shared,
        width=settings.width,
        seed=seed,
    )


def heads_of(settings: DetectorSettings) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """The function that puts the heads on a body, and what the settings tell it, by argument."""
    known: dict[str, Any] = {
        "score_threshold": settings.score_threshold,
        "nms_threshold": settings.nms_threshold or NMS[settings.kind],
        "detections": settings.detections,
        "anchor_size": settings.anchor_size,
    }
    if settings.kind in TOWERS:
        known["depth"] = settings.head_depth
        known["coupled"] = settings.tower == "coupled"
    if settings.kind == "fcos":
        known["reach"] = settings.reach
        return make_fcos, {**known, "norm": settings.head_norm != "none"}
    if settings.kind == "retinanet":
        return make_retinanet, {**known, "norm": settings.head_norm == "group"}
    if settings.kind == "ssd":
        return make_ssd, known
    return make_faster_rcnn, {
        **known,
        "rpn_depth": settings.rpn_depth,
        "rpn_positive_iou": settings.rpn_positive_iou,
        "rpn_negative_iou": settings.rpn_negative_iou,
        "rpn_samples": settings.rpn_samples,
        "proposals_train": settings.proposals_train,
        "proposals_test": settings.proposals_test,
        "roi": settings.roi,
        "roi_rule": settings.roi_rule,
        "roi_levels": settings.roi_levels,
        "roi_canonical_size": settings.roi_canonical_size,
        "box_head": settings.box_head,
        "box_width": settings.box_width,
        "box_samples": settings.box_samples,
    }


def _one_stage(
    settings: DetectorSettings, body: Body, *, num_classes: int, image_size: int
) -> nn.Module:
    make, told = heads_of(settings)
    if settings.kind == "ssd":
        return make(
            body, channels=body.widths, num_classes=num_classes, image_size=image_size, **told
        )
    return make(
        body,
        levels=body.levels,
        channels=body.out_channels,
        num_classes=num_classes,
        image_size=image_size,
        **told,
    )


def _two_stage(
    settings: DetectorSettings, body: Body, *, num_classes: int, image_size: int, seed: int
) -> nn.Module:
    _, told = heads_of(settings)
    detector: nn.Module = make_faster_rcnn(
        body,
        levels=body.levels,
        channels=body.out_channels,
        num_classes=num_classes,
        image_size=image_size,
        seed=seed,
        **told,
    )
    if settings.kind == "fast_rcnn":
        detector = take_proposals(detector, image_size=image_size)
    if settings.consistent:
        detector = supervise_laterals(
            detector,
            body.neck,
            inputs=body.inputs,
            names=settings.laterals,
            weight=settings.consistent,
            width=settings.box_width,
            num_classes=num_classes,
            image_size=image_size,
        )
    return detector
