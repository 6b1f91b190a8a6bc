"""A backbone with weights: what stands still, and how its features are scaled."""

from pathlib import Path

import pytest
import torch
from torch import nn

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
