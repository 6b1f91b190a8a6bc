"""What a detector costs beside its backbone, and a baseline at the cost of another neck.

A larger neck is better by its size alone, and the head grows with the neck's width. So what is
compared costs the same with its head: latency, parameters or multiply-adds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_fpn.detect import DetectorSettings, build_detector
from nas_fpn.language import Architecture, cost, lower, resized
from nas_fpn.necks import Neck
from nas_fpn.proxy.latency import forward_ms

__all__ = ["EqualCost", "Frame", "detector_costs", "equal_cost"]

EqualCost = Literal["latency", "params", "gmacs", "none"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What all detectors of a comparison share: all but the neck."""

    detector: DetectorSettings
    channels: Mapping[int, int]
    num_classes: int
    image_size: int
    device: torch.device


def equal_cost(
    baseline: Architecture, neck: Architecture, frame: Frame, *, by: EqualCost
) -> Architecture:
    """The baseline at the width and repeats at which its detector costs what that of ``neck`` does.

    Latencies are taken in turns with that of ``neck``. ``by="none"`` leaves it as it is.
    """
    if by == "none":
        return baseline
    if by == "latency":
        other = _Timed(neck, frame)

        def slower(one: Architecture) -> float:
            ours, theirs = forward_ms([_Timed(one, frame).forward, other.forward])
            return ours / theirs

        return resized(baseline, 1.0, slower)
    measure = _params if by == "params" else _gmacs
    return resized(baseline, measure(neck, frame), lambda one: measure(one, frame))


def detector_costs(necks: Mapping[str, Architecture], frame: Frame) -> dict[str, dict[str, float]]:
    """By name: "params_m" (millions), "gmacs" (1e9 an image), "latency_ms"; without the backbone.

    The latency is that of one image through neck, head and what follows it, taken in turns.
    """
    timed = forward_ms([_Timed(neck, frame).forward for neck in necks.values()])
    return {
        name: {
            "params_m": _params(neck, frame) / 1e6,
            "gmacs": _gmacs(neck, frame),
            "latency_ms": latency,
        }
        for (name, neck), latency in zip(necks.items(), timed, strict=True)
    }


class _Stored(nn.Module):
    """A backbone that takes no time: the same features of every image."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.channels = dict(frame.channels)
        self.levels = tuple(sorted(frame.channels))
        generator = torch.Generator().manual_seed(0)
        self.features = {
            k: torch.randn(1, self.channels[k], s, s, generator=generator).to(frame.device)
            for k in self.levels
            for s in [-(-frame.image_size // 2**k)]
        }

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """[1, 3, S, S] to [1, C, H, W] by level."""
        return self.features


class _Timed:
    """One image through a detector without its backbone."""

    def __init__(self, neck: Architecture, frame: Frame) -> None:
        side = frame.image_size
        self.model = _without_backbone(neck, frame)
        self.images = [torch.zeros(3, side, side, device=frame.device)]
        self.targets = _targets(frame) if frame.detector.kind == "fast_rcnn" else None

    @property
    def forward(self) -> "tuple[nn.Module, _Timed]":
        """The pass as :func:`nas_fpn.proxy.latency.forward_ms` takes it."""
        return self.model, self

    def __call__(self) -> object:
        return self.model(self.images, self.targets)


def _targets(frame: Frame) -> list[dict[str, Tensor]]:
    """As many proposals for one image as a Faster R-CNN would have."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(DetectorSettings().proposals_test, 2, 2, generator=generator)
    boxes = frame.image_size * corners.sort(dim=1).values.flatten(1)  # [n, 4]
    return [{"proposals": boxes.to(frame.device)}]


def _without_backbone(neck: Architecture, frame: Frame) -> nn.Module:
    """The detector as it is tested. What a recursive neck feeds back is left out."""
    plain = {"recursive_steps": 1, "recursive_width": 256, "recursive_shared": False}
    tested = {"switchable": False, "consistent": 0.0, "laterals": ()}
    channels = [frame.channels[level] for level in lower(neck).inputs]
    model = build_detector(
        frame.detector.model_copy(update={**plain, **tested}),
        _Stored(frame),
        Neck(neck, channels, seed=0),
        num_classes=frame.num_classes,
        image_size=frame.image_size,
        seed=0,
    )
    return model.to(frame.device).eval()


def _params(neck: Architecture, frame: Frame) -> float:
    return sum(parameter.numel() for parameter in _without_backbone(neck, frame).parameters())


def _gmacs(neck: Architecture, frame: Frame) -> float:
    """Of the neck as the language counts them, of the head as torch does."""
    timed = _Timed(neck, frame)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        timed()
    flops = counter.get_flop_counts()
    neck_alone = sum(sum(n.values()) for at, n in flops.items() if at.endswith(".backbone.neck"))
    head: int = sum(flops["Global"].values()) - neck_alone
    own = cost(neck, frame.channels, image_size=frame.image_size).macs
    return (own + head / 2) / 1e9
