"""Small detectors for tests: a backbone of four strided convolutions, necks as text."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas_fpn.detect import DetectorSettings, build_detector, label_offset
from nas_fpn.language import lower, parse
from nas_fpn.necks import Neck

FPN = """width 32
p2..p5 = c2..c5 -> conv1
p4..p2 = sum(p4..p2, p5..p3)
p6 = p5 -> subsample"""
SMALL = {
    "faster_rcnn": {
        "box_width": 32,
        "box_samples": 64,
        "proposals_train": 60,
        "proposals_test": 30,
    },
    "fast_rcnn": {"box_width": 32, "box_samples": 64},
}


class TinyBackbone(nn.Module):
    """Features of 8 to 32 channels at levels 2..5; no norms, so that it is the same in eval."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = (2, 3, 4, 5)
        self.channels = {2: 8, 3: 8, 4: 16, 5: 32}
        self.stem = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.stages = nn.ModuleList(
            nn.Conv2d(wide, channels, 3, 2, padding=1)
            for wide, channels in zip((8, 8, 8, 16), self.channels.values(), strict=True)
        )

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        feature, features = self.stem(images).relu(), {}
        for level, stage in zip(self.levels, self.stages, strict=True):
            features[level] = feature = stage(feature).relu()
        return features


def make_backbone() -> TinyBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return TinyBackbone()


def make_neck(text: str = FPN, channels: dict[int, int] | None = None) -> Neck:
    architecture = parse(text)
    channels = channels or make_backbone().channels
    return Neck(architecture, [channels[level] for level in lower(architecture).inputs], seed=0)


@pytest.fixture
def make() -> Callable[..., Any]:
    """Settings as keywords to a detector; ``backbone``, ``neck``, ``seed`` … may be given."""

    def made(
        *,
        backbone: nn.Module | None = None,
        neck: nn.Module | str = FPN,
        image_size: int = 64,
        seed: int = 0,
        **options: Any,
    ) -> nn.Module:
        chosen = DetectorSettings(**(SMALL.get(options["kind"], {}) | options))
        return build_detector(
            chosen,
            backbone or make_backbone(),
            make_neck(neck) if isinstance(neck, str) else neck,
            num_classes=4,
            image_size=image_size,
            seed=seed,
        )

    return made


@pytest.fixture
def batch() -> Callable[..., Any]:
    """Two images and their targets for a kind, the second without a box."""

    def made(kind: str, *, image_size: int = 64) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        generator = torch.Generator().manual_seed(3)
        images = list(torch.rand(2, 3, image_size, image_size, generator=generator))
        boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0], [20.0, 10.0, 60.0, 50.0]])
        labels = torch.tensor([0, 3]) + label_offset(DetectorSettings(kind=kind))  # type: ignore[arg-type]
        targets = [
            {"boxes": boxes, "labels": labels},
            {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        ]
        if kind == "fast_rcnn":
            near = torch.tensor([[2.0, 8.0, 28.0, 44.0], [22.0, 8.0, 80.0, 52.0], [0, 0, 9.0, 9.0]])
            targets = [target | {"proposals": near} for target in targets]
        return images, targets

    return made
