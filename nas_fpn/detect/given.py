"""Fast R-CNN on given proposals (Girshick 2015, arXiv:1504.08083), in torchvision's classes.

Proposals come with the targets, ``{"proposals": [n, 4]}`` (x0, y0, x1, y1) in pixels of the image,
in training and in evaluation: ``model(images, targets)``. In evaluation the targets need
nothing else.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

__all__ = ["GivenProposals", "ProposalTransform", "propose"]

LEAST_SIDE = 1e-3  # pixels, as in torchvision's RPN


class GivenProposals(nn.Module):
    """In the place of an RPN: the proposals of the targets, cut to the image. It has no losses."""

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        targets: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals [n, 4] of each image in network pixels; none without area.

        In training the whole of an image that has neither proposal nor box is proposed, as
        background: the losses of a batch without any proposal would not be numbers.
        """
        del features
        proposals = []
        for given, size in zip(_proposals(targets), images.image_sizes, strict=True):
            boxes = clip_boxes_to_image(given.float(), size)
            proposals.append(boxes[remove_small_boxes(boxes, LEAST_SIDE)])
        if self.training and targets is not None:
            for place, (height, width) in enumerate(images.image_sizes):
                if not len(proposals[place]) and not len(targets[place]["boxes"]):
                    whole = [[0.0, 0.0, width, height]]
                    proposals[place] = proposals[place].new_tensor(whole)
        return proposals, {}


class ProposalTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform, which brings proposals to the network's size with the image."""

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Resize images and targets; targets without boxes and labels get empty ones."""
        given = _proposals(targets)
        whole = [
            {"boxes": boxes.new_zeros(0, 4), "labels": boxes.new_zeros(0, dtype=torch.int64)}
            | target
            for target, boxes in zip(targets or (), given, strict=True)
        ]
        transformed: tuple[ImageList, list[dict[str, Tensor]]] = super().forward(images, whole)
        return transformed

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize one image, its boxes and its proposals."""
        before = image.shape[-2:]
        image, target = super().resize(image, target)
        if target is not None:
            target["proposals"] = resize_boxes(target["proposals"], before, image.shape[-2:])
        return image, target


@torch.no_grad()
def propose(detector: FasterRCNN, images: Sequence[Tensor]) -> list[Tensor]:
    """What the RPN of a Faster R-CNN proposes: [n, 4] in pixels of each image, best first.

    ``images`` are [3, H, W] in 0..1; the detector is to be in evaluation mode.
    """
    batch, _ = detector.transform(list(images))
    proposals, _ = detector.rpn(batch, detector.backbone(batch.tensors))
    return [
        resize_boxes(boxes, size, image.shape[-2:])
        for boxes, size, image in zip(proposals, batch.image_sizes, images, strict=True)
    ]


def _proposals(targets: Sequence[Mapping[str, Tensor]] | None) -> list[Tensor]:
    if targets is None or any("proposals" not in target for target in targets):
        raise ValueError(
            'a detector of kind "fast_rcnn" takes its proposals from the targets, in evaluation '
            'too: give model(images, targets) with targets[i]["proposals"], [n, 4] in pixels'
        )
    return [target["proposals"] for target in targets]
