"""Detection: COCO data, images, the dense head with its targets and losses, RoIs, AP."""

from nas_fpn.detect.anchor_detector import AnchorDetector
from nas_fpn.detect.anchor_head import AnchorHead, AnchorPredictions
from nas_fpn.detect.body import BackboneWithNeck
from nas_fpn.detect.boxes import Grid, boxes_to_distances, distances_to_boxes, make_grid
from nas_fpn.detect.build import build_detector, inference_settings
from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.consistent import inference_state_dict
from nas_fpn.detect.convert import Converted, convert
from nas_fpn.detect.dataset import Category, Dataset, Image, split_dataset, take, to_coco
from nas_fpn.detect.decode import decode
from nas_fpn.detect.detector import Detector, Pyramid
from nas_fpn.detect.evaluate import Detections, average_precision
from nas_fpn.detect.given import propose
from nas_fpn.detect.head import DenseHead, Predictions
from nas_fpn.detect.images import letterbox, load_image, open_image
from nas_fpn.detect.losses import Losses, detection_losses, focal_loss, focal_sums, giou_loss
from nas_fpn.detect.matching import (
    ClassMatches,
    Matches,
    match_detections,
    weighted_ap,
    weighted_aps,
)
from nas_fpn.detect.roi import LevelRule, pool_rois, pool_rois_from_all, roi_levels
from nas_fpn.detect.roi_fusion import (
    AdaptivePooling,
    SoftSelection,
    adaptive_convs,
    adaptive_linear,
)
from nas_fpn.detect.scenes import CLASSES, Scene, draw_scene
from nas_fpn.detect.settings import DetectorSettings, label_offset
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.detect.targets import (
    Targets,
    assign_points,
    assign_targets,
    chosen_targets,
    size_ranges,
)

__all__ = [
    "CLASSES",
    "AdaptivePooling",
    "AnchorDetector",
    "AnchorHead",
    "AnchorPredictions",
    "BackboneWithNeck",
    "Category",
    "ClassMatches",
    "Converted",
    "Dataset",
    "DenseHead",
    "Detections",
    "Detector",
    "DetectorSettings",
    "Grid",
    "Image",
    "LevelRule",
    "Losses",
    "Matches",
    "Predictions",
    "Pyramid",
    "Scene",
    "SoftSelection",
    "Targets",
    "adaptive_convs",
    "adaptive_linear",
    "assign_points",
    "assign_targets",
    "average_precision",
    "boxes_to_distances",
    "build_detector",
    "chosen_targets",
    "convert",
    "decode",
    "detection_losses",
    "distances_to_boxes",
    "draw_scene",
    "focal_loss",
    "focal_sums",
    "giou_loss",
    "inference_settings",
    "inference_state_dict",
    "label_offset",
    "letterbox",
    "load_image",
    "make_grid",
    "match_detections",
    "open_image",
    "pool_rois",
    "pool_rois_from_all",
    "propose",
    "read_coco",
    "roi_levels",
    "size_ranges",
    "split_dataset",
    "take",
    "to_coco",
    "weighted_ap",
    "weighted_aps",
    "write_shapes",
]
