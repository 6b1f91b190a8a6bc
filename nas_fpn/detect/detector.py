"""A detector in one piece: backbone, neck and dense head; or neck and head on stored features."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from nas_fpn.detect.boxes import Grid, KeptCells, make_grid
from nas_fpn.detect.decode import decode
from nas_fpn.detect.evaluate import Detections
from nas_fpn.detect.head import DenseHead, Predictions
from nas_fpn.detect.losses import Losses, detection_losses
from nas_fpn.detect.targets import (
    assign_points,
    chosen_targets,
    size_ranges,
    without_padding,
)

__all__ = ["Detector", "Pyramid"]


class Pyramid(Protocol):
    """All that a detector knows of a neck: an ``nn.Module`` that says what it reads and gives.

    ``inputs`` and ``levels`` are the levels read and given, finest first; ``strides`` (pixels)
    and ``out_channels`` have one entry per level given.
    """

    inputs: tuple[int, ...]
    levels: tuple[int, ...]
    strides: tuple[int, ...]
    out_channels: tuple[int, ...]

    def __call__(self, features: Sequence[Tensor], /) -> Sequence[Tensor]:
        """One feature [B, C, H, W] per input level to one per output level."""


class Detector(nn.Module):
    """Images (with a backbone) or features by level (without) to predictions and losses.

    ``ranges`` are the (least, most) reach in pixels of the boxes that each level learns; by
    default those of :func:`size_ranges` for ``image_size``, the side of the network's input.
    """

    def __init__(
        self,
        neck: Pyramid,
        head: DenseHead,
        *,
        image_size: int,
        backbone: nn.Module | None = None,
        ranges: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        super().__init__()
        if head.levels != tuple(neck.levels):
            raise ValueError(f"head has levels {head.levels}, but neck gives {tuple(neck.levels)}")
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.ranges = tuple(ranges or size_ranges(neck.levels, image_size))
        self._grid = KeptCells(partial(make_grid, strides=tuple(neck.strides)))
        if len(self.ranges) != len(head.levels):
            raise ValueError(
                f"ranges must have one entry per level {head.levels}, but got {self.ranges}"
            )

    def forward(self, inputs: Tensor | Mapping[int, Tensor]) -> tuple[Predictions, Grid]:
        """Predict for images [B, 3, S, S] in 0..1, or for features [B, C, H, W] by level."""
        features = inputs if self.backbone is None else self.backbone(inputs)
        pyramid = self.neck([features[level] for level in self.neck.inputs])
        sizes = [(feature.shape[2], feature.shape[3]) for feature in pyramid]
        return self.head(pyramid), self._grid(sizes, pyramid[0].device)

    @property
    def rule(self) -> tuple[object, ...]:
        """What decides, with the sizes of the pyramid, which box a point learns."""
        return ("points", tuple(self.neck.strides), self.ranges)

    def assign(self, grid: Grid, boxes: Tensor, labels: Tensor) -> Tensor:
        """Which row of ``boxes`` each point learns, int64 [B, P], as :func:`assign_points`."""
        return assign_points(grid, *without_padding(boxes, labels), ranges=self.ranges)

    def share(self, index: Tensor, whole: Tensor) -> Tensor:
        """The weight of some images' loss in that of a batch, by what their points learn."""
        some, all_of_them = ((one >= 0).sum().clamp(min=1) for one in (index, whole))
        return some / all_of_them

    def losses(
        self,
        inputs: Tensor | Mapping[int, Tensor],
        boxes: Tensor,
        labels: Tensor,
        *,
        assign: Callable[[Grid], Tensor] | None = None,
    ) -> Losses:
        """The losses of a batch with ``boxes`` [B, M, 4] and ``labels`` [B, M], padded with -1.

        ``assign``, where it is given, knows what :meth:`assign` would say of the batch.
        """
        predictions, grid = self(inputs)
        index = self.assign(grid, boxes, labels) if assign is None else assign(grid)
        targets = chosen_targets(index, boxes, labels)
        static = grid.points.device.type != "cpu"
        return detection_losses(predictions, targets, grid, static=static)

    def detect(
        self,
        inputs: Tensor | Mapping[int, Tensor],
        *,
        image_ids: Tensor,
        scales: Tensor,
        sizes: Tensor,
    ) -> Detections:
        """The detections of a batch; the arguments are those of :func:`decode`."""
        predictions, grid = self(inputs)
        return decode(
            predictions,
            grid,
            image_ids=image_ids,
            scales=scales.to(grid.points.device),
            sizes=sizes.to(grid.points.device),
        )
