"""A backbone with weights: what stands still, and how its features are scaled."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_fpn.detect import DetectorSettings, build_detector
from nas_fpn.detect.dataset import take
from nas_fpn.detect.recursive import all_backbones
from nas_fpn.language import parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.settings import BackboneSettings
from nas_fpn.training import Standardised, freeze, measure, stand_still
from tests.training.toys import BOXES, dataset


@pytest.fixture(scope="module")
def settings() -> BackboneSettings:
    return BackboneSettings(name="mobilenetv3_small_050")


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet10t", "efficientnet_b0"])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_makes_the_feature_of_a_level_stands_still_and_nothing_else(
    name: str, level: int
) -> None:
    backbone = build_backbone(BackboneSettings(name=name), (level, 4), seed=0)
    before = {id(p) for p in backbone.parameters()}
    backbone(torch.rand(2, 3, 64, 64))[level].sum().backward()
    used = {id(p) for p in backbone.parameters() if p.grad is not None}
    freeze(backbone, level=level, norms=False)
    still = {id(p) for p in backbone.parameters() if not p.requires_grad}
    assert still == used
    assert still < before


def test_level_0_freezes_no_stage(settings: BackboneSettings) -> None:
    backbone = build_backbone(settings, (3, 4), seed=0)
    assert freeze(backbone, level=0, norms=False) == ()
    assert all(p.requires_grad for p in backbone.parameters())


def test_norms_keep_their_statistics_and_weights(settings: BackboneSettings) -> None:
    backbone = build_backbone(settings, (3, 4), seed=0)
    still = freeze(backbone, level=0, norms=True)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert set(map(id, norms)) == set(map(id, still))
    backbone.train()
    stand_still(still)
    before = [norm.running_mean.clone() for norm in norms]
    backbone(torch.rand(2, 3, 64, 64))[4].sum().backward()
    assert all(torch.equal(a, n.running_mean) for a, n in zip(before, norms, strict=True))
    assert all(norm.weight.grad is None for norm in norms)
    assert backbone.training, "what is not frozen is still in training mode"


def test_a_module_that_is_no_timm_model_has_its_norms_frozen_only() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    assert freeze(net, level=5, norms=True) == (net[1],)
    assert net[0].weight.requires_grad


def test_every_pass_of_a_recursive_detector_stands_still_alike() -> None:
    backbone = build_backbone(BackboneSettings(name="resnet10t"), (3, 4, 5), seed=0)
    model = build_detector(
        DetectorSettings(kind="retinanet", recursive_steps=3, recursive_width=8, head_depth=1),
        backbone,
        Neck(parse("width 8\np3..p5 = c3..c5 -> conv1\n"), (128, 256, 512), seed=0),
        num_classes=1,
        image_size=64,
        seed=0,
    )
    still = [m for b in all_backbones(model, backbone) for m in freeze(b, level=2, norms=True)]
    model.train()
    stand_still(tuple(still))
    first, *others = model.backbone.recursive.backbones
    learning = {name: p.requires_grad for name, p in first.named_parameters()}
    assert {False, True} == set(learning.values()) and not learning["net.conv1.0.weight"]
    assert len(others) == 2
    for one in others:
        assert {name: p.requires_grad for name, p in one.named_parameters()} == learning
        for (name, mine), (_, part) in zip(first.named_modules(), one.named_modules(), strict=True):
            assert mine.training == part.training, name


def test_features_are_measured_over_the_whole_data(tmp_path: Path) -> None:
    data = dataset(tmp_path, [[], [(0, 0, 60, 40)]])
    grey, red, many = (take(data, rows) for rows in ([0], [1], [0] * 70 + [1] * 50))

    class Plain(nn.Module):
        def forward(self, pixels: Tensor) -> dict[int, Tensor]:
            return {3: pixels}

    one, other, mean = (measure(Plain(), d, image_size=64)[3][0] for d in (grey, red, many))
    expected = one + (other - one) * 50 / 120
    torch.testing.assert_close(mean, expected, atol=0.01, rtol=0)


def test_features_are_scaled_to_mean_0_and_std_1(
    tmp_path: Path, settings: BackboneSettings
) -> None:
    data = dataset(tmp_path, BOXES)
    backbone = build_backbone(settings, (3, 4), seed=0)
    statistics = measure(backbone, data, image_size=64)
    assert backbone.training
    scaled = Standardised(backbone.eval(), statistics)
    assert scaled.levels == (3, 4) and scaled.channels == backbone.channels
    again = measure(scaled, data, image_size=64)
    for level, (mean, std) in again.items():
        flat = statistics[level][1] == 1.0
        torch.testing.assert_close(mean[~flat], torch.zeros_like(mean[~flat]), atol=1e-3, rtol=0)
        torch.testing.assert_close(std[~flat], torch.ones_like(std[~flat]), atol=1e-2, rtol=0)
    named = scaled.statistics()
    assert torch.equal(named["mean.c3"], statistics[3][0])
    assert torch.equal(named["std.c4"], statistics[4][1])


def test_without_statistics_features_pass_as_they_are(settings: BackboneSettings) -> None:
    backbone = build_backbone(settings, (3, 4), seed=0).eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for level, feature in Standardised(backbone, {})(pixels).items():
            assert torch.equal(feature, backbone(pixels)[level])
