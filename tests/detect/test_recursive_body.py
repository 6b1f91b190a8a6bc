"""DetectoRS' parts in a detector: recursion starts as the plain detector, and so do switches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from nas_fpn.detect.recursive import make_switchable
from nas_fpn.language import parse
from nas_fpn.necks import Neck, SwitchableConv2d

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
NECK = "width 8\np3..p5 = c3..c5 -> conv1\np4..p3 = sum(p4..p3, p5..p4)\np6 = p5 -> subsample"
CHANNELS = (4, 8, 12, 16)
Make = Callable[..., Any]


class TinyResNet(nn.Module):
    """A ResNet's layout at 4 to 16 channels behind input statistics, as a timm backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = (2, 3, 4, 5)
        self.net = nn.Module()
        self.net.conv1 = nn.Conv2d(3, 4, 3, 2, padding=1)
        self.net.bn1 = nn.BatchNorm2d(4)
        self.net.relu = nn.ReLU()
        self.net.maxpool = nn.MaxPool2d(3, 2, 1)
        wide = 4
        for number, channels in enumerate(CHANNELS, start=1):
            stride = 1 if number == 1 else 2
            shortcut = nn.Sequential(nn.Conv2d(wide, channels, 1, stride))
            block = BasicBlock(wide, channels, stride, shortcut)
            self.net.add_module(f"layer{number}", nn.Sequential(block))
            wide = channels
        self.register_buffer("mean", torch.full((3, 1, 1), 0.4), persistent=False)
        self.register_buffer("std", torch.full((3, 1, 1), 0.3), persistent=False)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        x, features = (images - self.mean) / self.std, {}
        for name, stage in self.net.named_children():
            x = stage(x)
            if name.startswith("layer"):
                features[int(name[-1]) + 1] = x
        return features


@pytest.fixture
def parts() -> Callable[[], dict[str, Any]]:
    """Backbone and neck, each time new and equal."""

    def made() -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = TinyResNet()
        return {"backbone": backbone, "neck": make_neck(), "image_size": 96}

    return made


def make_neck() -> Neck:
    return Neck(parse(NECK), CHANNELS[1:], seed=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["fcos", "faster_rcnn"])
def test_a_recursive_detector_learns_in_every_part(
    make: Make, batch: Make, parts: Callable[[], dict[str, Any]], kind: str, shared: bool
) -> None:
    model = make(
        kind=kind, recursive_steps=2, recursive_width=8, recursive_shared=shared, **parts()
    )
    losses = model(*batch(kind, image_size=96))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model.backbone.neck is model.backbone.recursive.neck
    assert not any(key.startswith("backbone.neck.") for key in model.state_dict())


def test_recursion_starts_from_the_pyramid_of_one_pass(
    make: Make, parts: Callable[[], dict[str, Any]]
) -> None:
    plain = make(kind="fcos", **parts()).eval()
    model = make(kind="fcos", recursive_steps=3, recursive_width=8, **parts()).eval()
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected, pyramid = plain.backbone(images), model.backbone(images)
    assert list(pyramid) == ["p3", "p4", "p5", "p6"]
    torch.testing.assert_close(dict(pyramid), dict(expected))


def test_switchable_convolutions_start_as_those_they_replace(
    make: Make, parts: Callable[[], dict[str, Any]]
) -> None:
    plain = make(kind="fcos", **parts()).eval()
    model = make(kind="fcos", switchable=True, **parts()).eval()
    stages = {
        name.split(".")[3]
        for name, part in model.named_modules()
        if isinstance(part, SwitchableConv2d)
    }
    assert stages == {"layer2", "layer3", "layer4"}
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected, pyramid = plain.backbone(images), model.backbone(images)
    torch.testing.assert_close(dict(pyramid), dict(expected), atol=1e-5, rtol=1e-4)


def test_of_another_layout_all_parts_but_the_first_are_switchable() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)),
    )
    assert make_switchable(net) == ("1.0",)
    assert type(net[0][0]) is nn.Conv2d


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("not_a_resnet", {"recursive_steps": 2}),
        ("nothing_to_switch", {"switchable": True, "backbone": nn.Sequential(nn.ReLU())}),
    ],
)
def test_message(make: Make, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        make(kind="fcos", **options)
    golden = (GOLDEN / f"detector_{name}.txt").read_text(encoding="utf-8")
    assert f"{caught.value}\n" == golden
