"""From the settings of a detector, a backbone and a neck to a torchvision detector."""

from collections.abc import Mapping

import torch
from torch import nn

from nas_fpn.detect.body import BackboneWithNeck
from nas_fpn.detect.one_stage import make_fcos, make_retinanet, make_ssd
from nas_fpn.detect.settings import DetectorSettings, Kind
from nas_fpn.detect.two_stage import make_faster_rcnn

__all__ = ["build_detector"]

NMS: Mapping[Kind, float] = {
    "fcos": 0.6,
    "retinanet": 0.5,
    "ssd": 0.45,
    "faster_rcnn": 0.5,
    "fast_rcnn": 0.5,
}


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

    ``backbone`` takes images [B, 3, S, S] in 0..1 to features by level and says its ``levels`` and
    ``channels``; it normalises inside. ``neck`` is a :class:`nas_fpn.detect.detector.Pyramid`.
    Both become parts of the detector, not copies. The heads start from ``seed`` alone, and torch's
    global generator is left as it was; in training, torchvision's samplers of both R-CNNs
    draw from the global one.

    Training, ``model(images, targets)`` gives a dict of losses: images are [3, H, W] in 0..1 and
    brought to ``image_size`` square; targets have ``boxes`` [n, 4] (x0, y0, x1, y1) in pixels
    and ``labels`` [n], a class index of 0..num_classes - 1 plus
    :func:`nas_fpn.detect.settings.label_offset`. In evaluation, ``model(images)`` gives ``boxes``,
    ``scores`` and ``labels`` for each image. A state dict begins ``backbone.body.`` for the
    backbone and ``backbone.neck.`` for the neck.

    A neck with one level, as ``p5 = c5 -> conv1``, gives a detector on one scale: the control of
    what a pyramid brings. Raises ValueError where neck, backbone and kind do not fit.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, but got {num_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(settings, backbone, neck, num_classes=num_classes, image_size=image_size)


def _build(
    settings: DetectorSettings,
    backbone: nn.Module,
    neck: nn.Module,
    *,
    num_classes: int,
    image_size: int,
) -> nn.Module:
    kind = settings.kind
    nms = settings.nms_threshold or NMS[kind]
    body = BackboneWithNeck(backbone, neck, width=settings.width, ragged=kind == "ssd")
    detector: nn.Module
    if kind == "fcos":
        detector = make_fcos(
            body,
            num_classes=num_classes,
            image_size=image_size,
            depth=settings.head_depth,
            coupled=settings.tower == "coupled",
            norm=settings.head_norm != "none",
            score_threshold=settings.score_threshold,
            nms_threshold=nms,
            detections=settings.detections,
        )
    elif kind == "retinanet":
        detector = make_retinanet(
            body,
            num_classes=num_classes,
            image_size=image_size,
            depth=settings.head_depth,
            coupled=settings.tower == "coupled",
            norm=settings.head_norm == "group",
            anchor_size=settings.anchor_size,
            score_threshold=settings.score_threshold,
            nms_threshold=nms,
            detections=settings.detections,
        )
    elif kind == "ssd":
        detector = make_ssd(
            body,
            num_classes=num_classes,
            image_size=image_size,
            anchor_size=settings.anchor_size,
            score_threshold=settings.score_threshold,
            nms_threshold=nms,
            detections=settings.detections,
        )
    else:
        detector = make_faster_rcnn(
            body,
            num_classes=num_classes,
            image_size=image_size,
            anchor_size=settings.anchor_size,
            rpn_depth=settings.rpn_depth,
            rpn_positive_iou=settings.rpn_positive_iou,
            rpn_negative_iou=settings.rpn_negative_iou,
            rpn_samples=settings.rpn_samples,
            proposals_train=settings.proposals_train,
            proposals_test=settings.proposals_test,
            roi_levels=settings.roi_levels,
            roi_canonical_size=settings.roi_canonical_size,
            box_width=settings.box_width,
            box_samples=settings.box_samples,
            score_threshold=settings.score_threshold,
            nms_threshold=nms,
            detections=settings.detections,
        )
    return detector
