"""torchvision's Faster R-CNN around any pyramid (Ren et al. 2015, arXiv:1506.01497)."""

from collections.abc import Sequence

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from nas_fpn.detect.anchors import anchors, image_scale
from nas_fpn.detect.body import BackboneWithNeck

__all__ = ["make_faster_rcnn"]

CANONICAL_SIZE = 224  # pixels at an image size of 800
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the backbone has its own inside
POOLED = 7  # cells of a pooled box to a side
DEEPEST = 5  # the coarsest level that boxes are read from (FPN: P6 is for proposals)


def make_faster_rcnn(
    body: BackboneWithNeck,
    *,
    num_classes: int,
    image_size: int,
    anchor_size: float | None = None,
    rpn_depth: int = 1,
    rpn_positive_iou: float = 0.7,
    rpn_negative_iou: float = 0.3,
    rpn_samples: int = 256,
    proposals_train: int = 2000,
    proposals_test: int = 1000,
    roi_levels: Sequence[int] | None = None,
    roi_canonical_size: float | None = None,
    box_width: int = 1024,
    box_samples: int = 512,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections: int = 100,
) -> FasterRCNN:
    """Faster R-CNN with torchvision's defaults; ``num_classes`` is without the background."""
    generator = anchors(body.levels, image_size, per_level=1, smallest=anchor_size)
    levels = roi_levels or [level for level in body.levels if level <= DEEPEST] or body.levels
    pool = MultiScaleRoIAlign(
        [f"p{level}" for level in levels],
        POOLED,
        2,
        canonical_scale=roi_canonical_size or CANONICAL_SIZE * image_scale(image_size),
    )
    return FasterRCNN(
        body,
        min_size=image_size,
        max_size=image_size,
        image_mean=list(MEAN),
        image_std=list(STD),
        fixed_size=(image_size, image_size),
        rpn_anchor_generator=generator,
        rpn_head=RPNHead(
            body.out_channels, generator.num_anchors_per_location()[0], conv_depth=rpn_depth
        ),
        rpn_fg_iou_thresh=rpn_positive_iou,
        rpn_bg_iou_thresh=rpn_negative_iou,
        rpn_batch_size_per_image=rpn_samples,
        rpn_pre_nms_top_n_train=proposals_train,
        rpn_post_nms_top_n_train=proposals_train,
        rpn_pre_nms_top_n_test=proposals_test,
        rpn_post_nms_top_n_test=proposals_test,
        box_roi_pool=pool,
        box_head=TwoMLPHead(body.out_channels * POOLED**2, box_width),
        box_predictor=FastRCNNPredictor(box_width, num_classes + 1),
        box_batch_size_per_image=box_samples,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms_threshold,
        box_detections_per_img=detections,
    )
