"""torchvision's Faster R-CNN around any pyramid, with the options of the field.

Ren et al. 2015, arXiv:1506.01497; on a pyramid: Lin et al. 2017, arXiv:1612.03144, section 4.
"""

from collections.abc import Sequence

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from nas_fpn.detect.anchors import anchors, image_scale
from nas_fpn.detect.body import MEAN, STD
from nas_fpn.detect.box_heads import Head, Reading, make_box_head, make_box_pool
from nas_fpn.detect.consistent import AuxiliaryHead, ConsistentRoIHeads
from nas_fpn.detect.given import GivenProposals, ProposalTransform
from nas_fpn.detect.laterals import Laterals, find_laterals
from nas_fpn.detect.roi import LevelRule

__all__ = ["make_faster_rcnn", "supervise_laterals", "take_proposals"]

CANONICAL_SIZE = 224  # pixels at an image size of 800
DEEPEST = 5  # the coarsest level that boxes are read from (FPN: P6 is for proposals)


def make_faster_rcnn(
    body: nn.Module,
    *,
    levels: Sequence[int],
    channels: int,
    num_classes: int,
    image_size: int,
    anchor_size: float | None = None,
    rpn_depth: int = 1,
    rpn_positive_iou: float = 0.7,
    rpn_negative_iou: float = 0.3,
    rpn_samples: int = 256,
    proposals_train: int = 2000,
    proposals_test: int = 1000,
    roi: Reading = "level",
    roi_rule: LevelRule = "torchvision",
    roi_levels: Sequence[int] | None = None,
    roi_canonical_size: float | None = None,
    box_head: Head = "linear",
    box_width: int = 1024,
    box_samples: int = 512,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections: int = 100,
    seed: int = 0,
) -> FasterRCNN:
    """Faster R-CNN with torchvision's defaults; ``num_classes`` is without the background.

    ``body`` gives features called ``p{level}`` of ``channels`` channels. Anchors of one side a
    level in three ratios (more sides where the pyramid is low) propose from all levels; boxes
    read ``roi_levels``, by default those up to 5. ``seed`` is of the heads that merge levels.
    """
    generator = anchors(levels, image_size, per_level=1, smallest=anchor_size)
    pooled = _roi_levels(levels, roi_levels)
    pool = make_box_pool(
        pooled,
        reading=roi,
        canonical_size=roi_canonical_size or CANONICAL_SIZE * image_scale(image_size),
        rule=roi_rule,
    )
    head = make_box_head(
        channels, len(pooled), reading=roi, head=box_head, width=box_width, seed=seed
    )
    return FasterRCNN(
        body,
        min_size=image_size,
        max_size=image_size,
        image_mean=list(MEAN),
        image_std=list(STD),
        fixed_size=(image_size, image_size),
        rpn_anchor_generator=generator,
        rpn_head=RPNHead(channels, generator.num_anchors_per_location()[0], conv_depth=rpn_depth),
        rpn_fg_iou_thresh=rpn_positive_iou,
        rpn_bg_iou_thresh=rpn_negative_iou,
        rpn_batch_size_per_image=rpn_samples,
        rpn_pre_nms_top_n_train=proposals_train,
        rpn_post_nms_top_n_train=proposals_train,
        rpn_pre_nms_top_n_test=proposals_test,
        rpn_post_nms_top_n_test=proposals_test,
        box_roi_pool=pool,
        box_head=head,
        box_predictor=FastRCNNPredictor(box_width, num_classes + 1),
        box_batch_size_per_image=box_samples,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms_threshold,
        box_detections_per_img=detections,
    )


def take_proposals(detector: FasterRCNN, *, image_size: int) -> FasterRCNN:
    """Make a Fast R-CNN of it, in place: no RPN, proposals come with the targets."""
    detector.rpn = GivenProposals()
    detector.transform = ProposalTransform(
        image_size, image_size, list(MEAN), list(STD), fixed_size=(image_size, image_size)
    )
    return detector


def supervise_laterals(
    detector: FasterRCNN,
    neck: nn.Module,
    *,
    inputs: Sequence[int],
    names: Sequence[str],
    weight: float,
    width: int,
    num_classes: int,
    image_size: int,
) -> FasterRCNN:
    """Add AugFPN's consistent supervision to it, in place.

    ``names`` are the laterals for the levels ``inputs`` of the neck; without, they are found.
    """
    laterals = Laterals(neck, names or find_laterals(neck), levels=inputs)
    channels = laterals.channels(detector.backbone, image_size)
    auxiliary = AuxiliaryHead(channels, width=width, num_classes=num_classes + 1)
    detector.roi_heads = ConsistentRoIHeads(detector.roi_heads, auxiliary, laterals, weight=weight)
    return detector


def _roi_levels(levels: Sequence[int], wanted: Sequence[int] | None) -> tuple[int, ...]:
    chosen = wanted or [level for level in levels if level <= DEEPEST] or levels
    if missing := [level for level in chosen if level not in levels]:
        raise ValueError(
            f"roi_levels must be levels of the neck, {tuple(levels)}, but got {tuple(chosen)} with "
            f"{', '.join(map(str, missing))}; leave it out, or let the neck give them"
        )
    if list(chosen) != list(range(chosen[0], chosen[0] + len(chosen))):
        raise ValueError(
            "the levels that boxes read must follow one another, finest first, but got "
            f"{tuple(chosen)}; set roi_levels, e.g. to the first of them"
        )
    return tuple(chosen)
