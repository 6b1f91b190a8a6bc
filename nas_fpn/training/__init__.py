"""Training real detectors end to end, on images: what a verdict rests on."""

from nas_fpn.training.average import follow, make_average
from nas_fpn.training.checkpoint import Checkpoint, write_tensors
from nas_fpn.training.detections import detect_all, read_detections, write_detections
from nas_fpn.training.fit import fit_detector, pick_device, rate_at, report_steps
from nas_fpn.training.freeze import Standardised, freeze, measure, stand_still
from nas_fpn.training.settings import TrainingSettings
from nas_fpn.training.views import Views, batches, draw_images

__all__ = [
    "Checkpoint",
    "Standardised",
    "TrainingSettings",
    "Views",
    "batches",
    "detect_all",
    "draw_images",
    "fit_detector",
    "follow",
    "freeze",
    "make_average",
    "measure",
    "pick_device",
    "rate_at",
    "read_detections",
    "report_steps",
    "stand_still",
    "write_detections",
    "write_tensors",
]
