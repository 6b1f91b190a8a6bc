"""A detector with anchors: backbone, neck and anchor head; or neck and head on stored features."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from nas_fpn.detect.anchor_head import AnchorHead, AnchorLosses, AnchorPredictions, anchor_losses
from nas_fpn.detect.boxes import KeptCells
from nas_fpn.detect.cell_anchors import (
    Anchors,
    chosen_anchors,
    deltas_to_boxes,
    make_anchors,
    match_anchors,
)
from nas_fpn.detect.decode import best_of_levels, suppress
from nas_fpn.detect.detector import Pyramid
from nas_fpn.detect.evaluate import Detections
from nas_fpn.detect.targets import without_padding

__all__ = ["AnchorDetector"]


class AnchorDetector(nn.Module):
    """Images (with a backbone) or features by level (without) to predictions and losses.

    What :class:`Detector` is for a head without anchors; ``image_size`` is the side of the
    network's input, which the anchors scale with; ``anchor_size`` the side of the smallest in
    pixels instead, see :func:`make_anchors`.
    """

    def __init__(
        self,
        neck: Pyramid,
        head: AnchorHead,
        *,
        image_size: int,
        anchor_size: float | None = None,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if head.levels != tuple(neck.levels):
            raise ValueError(f"head has levels {head.levels}, but neck gives {tuple(neck.levels)}")
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.image_size = image_size
        self.anchor_size = anchor_size
        self._anchors = KeptCells(
            partial(
                make_anchors,
                strides=tuple(neck.strides),
                image_size=image_size,
                smallest=anchor_size,
            )
        )

    def forward(self, inputs: Tensor | Mapping[int, Tensor]) -> tuple[AnchorPredictions, Anchors]:
        """Predict for images [B, 3, S, S] in 0..1, or for features [B, C, H, W] by level."""
        features = inputs if self.backbone is None else self.backbone(inputs)
        pyramid = self.neck([features[level] for level in self.neck.inputs])
        sizes = [(feature.shape[2], feature.shape[3]) for feature in pyramid]
        return self.head(pyramid), self._anchors(sizes, pyramid[0].device)

    @property
    def rule(self) -> tuple[object, ...]:
        """What decides, with the sizes of the pyramid, which box an anchor learns."""
        return ("anchors", tuple(self.neck.strides), self.image_size, self.anchor_size)

    def assign(self, anchors: Anchors, boxes: Tensor, labels: Tensor) -> Tensor:
        """Which row of ``boxes`` each anchor learns, int64 [B, A], as :func:`match_anchors`."""
        return match_anchors(anchors, *without_padding(boxes, labels))

    def share(self, index: Tensor, whole: Tensor) -> float:
        """The weight of some images' loss in that of a batch, by what their anchors learn."""
        return len(index) / len(whole)

    def losses(
        self,
        inputs: Tensor | Mapping[int, Tensor],
        boxes: Tensor,
        labels: Tensor,
        *,
        assign: Callable[[Anchors], Tensor] | None = None,
    ) -> AnchorLosses:
        """The losses of a batch with ``boxes`` [B, M, 4] and ``labels`` [B, M], padded with -1.

        ``assign``, where it is given, knows what :meth:`assign` would say of the batch.
        """
        predictions, anchors = self(inputs)
        index = self.assign(anchors, boxes, labels) if assign is None else assign(anchors)
        return anchor_losses(predictions, chosen_anchors(index, boxes, labels), anchors)

    def detect(
        self,
        inputs: Tensor | Mapping[int, Tensor],
        *,
        image_ids: Tensor,
        scales: Tensor,
        sizes: Tensor,
        threshold: float = 0.05,
        top_k: int = 300,
        overlap: float = 0.5,
        most: int = 100,
    ) -> Detections:
        """The detections of a batch; the arguments are those of :func:`decode`."""
        predictions, anchors = self(inputs)
        score = predictions.logits.float().sigmoid()  # [B, A, K]
        found = deltas_to_boxes(predictions.deltas.float(), anchors.boxes)  # [B, A, 4]
        device = score.device
        return suppress(
            *best_of_levels(score, found, anchors.counts, top_k=top_k),
            num_classes=score.shape[2],
            image_ids=image_ids,
            scales=scales.to(device),
            sizes=sizes.to(device),
            threshold=threshold,
            overlap=overlap,
            most=most,
        )
