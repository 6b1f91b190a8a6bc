"""What a detector finds on a data set, and the file that keeps it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from nas_fpn.detect.dataset import Category, Dataset
from nas_fpn.detect.evaluate import Detections
from nas_fpn.detect.images import load_image
from nas_fpn.training.checkpoint import write_tensors

__all__ = ["detect_all", "read_detections", "write_detections"]

FIELDS = ("image_ids", "boxes", "scores", "labels")


@torch.no_grad()
def detect_all(
    model: nn.Module,
    dataset: Dataset,
    *,
    image_size: int,
    batch_size: int = 8,
    label_offset: int = 0,
) -> Detections:
    """Detect on every image of a data set, letterboxed into the network's square, in float32.

    ``model`` follows torchvision's convention: in evaluation mode a list of images [3, S, S] in
    0..1 to a list of "boxes", "scores" and "labels"; its labels are ours plus ``label_offset``.
    Where the data has proposals, targets with "proposals" [n, 4] go with the images. It is left in
    the mode it was in. Boxes come back in pixels of the stored images, inside them.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found: list[Detections] = []
    for start in range(0, len(dataset.images), batch_size):
        images = dataset.images[start : start + batch_size]
        loaded = [load_image(image.path, image_size) for image in images]
        seen = [pixels.to(device).float() / 255 for pixels, _ in loaded]
        if dataset.proposals is None:
            answers = model(seen)
        else:
            given = dataset.proposals[start : start + batch_size]
            scaled = [
                (torch.from_numpy(np.array(boxes)) * scale).to(device)
                for boxes, (_, scale) in zip(given, loaded, strict=True)
            ]
            answers = model(seen, [{"proposals": boxes} for boxes in scaled])
        for image, (_, scale), answer in zip(images, loaded, answers, strict=True):
            boxes = answer["boxes"].float().cpu() / scale
            boxes[:, 0::2] = boxes[:, 0::2].clamp(0, image.width)
            boxes[:, 1::2] = boxes[:, 1::2].clamp(0, image.height)
            found.append(
                Detections(
                    torch.full((len(boxes),), image.id),
                    boxes,
                    answer["scores"].float().cpu(),
                    answer["labels"].cpu() - label_offset,
                )
            )
    model.train(was_training)
    return Detections(*(torch.cat([getattr(one, name) for one in found]) for name in FIELDS))


def write_detections(
    path: Path, detections: Detections, *, categories: Sequence[Category], split: str
) -> None:
    """Write detections as a safetensors file; "of" in its metadata names split and categories."""
    tensors: dict[str, Tensor] = {name: getattr(detections, name) for name in FIELDS}
    named = [{"id": category.id, "name": category.name} for category in categories]
    # One note: the format does not keep the order of several, and equal detections are equal bytes.
    write_tensors(path, tensors, {"of": json.dumps({"split": split, "categories": named})})


def read_detections(path: Path) -> Detections:
    """Read the detections of :func:`write_detections`."""
    with safe_open(path, framework="pt") as file:
        return Detections(*(file.get_tensor(name) for name in FIELDS))
