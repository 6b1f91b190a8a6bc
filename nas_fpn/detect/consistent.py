"""Consistent supervision: one more box head, in training only, on the laterals of every level.

AugFPN (Guo et al. 2020, arXiv:1912.05384, section 3.1). The levels differ in what they mean until
they are merged; an auxiliary head with one set of weights for all of them, applied to the laterals
and trained with the targets of the main head, draws them together before the merge. At test
it is not there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from nas_fpn.detect.box_heads import POOLED
from nas_fpn.detect.laterals import Laterals
from nas_fpn.detect.roi import pool_rois_from_all

__all__ = ["AuxiliaryHead", "ConsistentRoIHeads", "inference_state_dict"]

AUXILIARY = "roi_heads.auxiliary."


class AuxiliaryHead(nn.Module):
    """Classes and boxes of each box from each lateral, by the same weights at every level."""

    def __init__(self, channels: int, *, width: int, num_classes: int) -> None:
        super().__init__()
        self.box_head = TwoMLPHead(channels * POOLED**2, width)
        self.box_predictor = FastRCNNPredictor(width, num_classes)

    def forward(
        self, laterals: Sequence[Tensor], boxes: Sequence[Tensor], *, levels: Sequence[int]
    ) -> list[tuple[Tensor, Tensor]]:
        """One (logits [n, K], boxes [n, 4 K]) for each level."""
        pooled = pool_rois_from_all(laterals, boxes, levels=levels, output_size=POOLED)
        return [self.box_predictor(self.box_head(feature)) for feature in pooled]


class ConsistentRoIHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's RoI heads with an auxiliary head that adds two losses in training.

    The boxes, labels and offsets that the main head learns are those of the auxiliary head, at each
    level of ``laterals``. ``loss_auxiliary_classifier`` and ``loss_auxiliary_box_reg`` are
    sums over levels, times ``weight`` (λ, published as 0.25). All other parts, and their
    names, are those of ``plain``.
    """

    def __init__(
        self, plain: RoIHeads, auxiliary: AuxiliaryHead, laterals: Laterals, *, weight: float
    ) -> None:
        super().__init__(
            plain.box_roi_pool,
            plain.box_head,
            plain.box_predictor,
            plain.proposal_matcher.high_threshold,
            plain.proposal_matcher.low_threshold,
            plain.fg_bg_sampler.batch_size_per_image,
            plain.fg_bg_sampler.positive_fraction,
            plain.box_coder.weights,
            plain.score_thresh,
            plain.nms_thresh,
            plain.detections_per_img,
        )
        self.auxiliary = auxiliary
        self.laterals = laterals
        self.weight = weight

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Give what torchvision's heads give, and two losses more in training."""
        if not self.training:
            told: tuple[Any, dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes, targets
            )
            return told
        boxes, _, labels, offsets = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, boxes, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        losses = _named("loss", fastrcnn_loss(logits, deltas, labels, offsets))
        sums = [logits.new_zeros(()), logits.new_zeros(())]
        said = self.auxiliary(self.laterals.take(), boxes, levels=self.laterals.levels)
        for logits, deltas in said:
            pair = fastrcnn_loss(logits, deltas, labels, offsets)
            sums = [total + self.weight * loss for total, loss in zip(sums, pair, strict=True)]
        return [], losses | _named("loss_auxiliary", sums)


def inference_state_dict(detector: nn.Module) -> dict[str, Tensor]:
    """What is needed at test: the state dict without the auxiliary head."""
    state: Mapping[str, Tensor] = detector.state_dict()
    return {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}


def _named(prefix: str, losses: Sequence[Tensor]) -> dict[str, Tensor]:
    classifier, box_reg = losses
    return {f"{prefix}_classifier": classifier, f"{prefix}_box_reg": box_reg}
