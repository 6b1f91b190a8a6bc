"""Box heads that read all levels, with one level to read: the plain head; rules of levels."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from nas_fpn.detect import pool_rois
from nas_fpn.detect.box_heads import (
    AllLevelsRoIAlign,
    Reading,
    RuledRoIAlign,
    make_box_head,
    make_box_pool,
)
from nas_fpn.detect.roi_fusion import adaptive_linear

LEVELS = (2, 3, 4)
SHAPES = [(64, 64), (64, 64)]


def make_features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"p{k}": torch.randn(2, 6, 64 >> k, 64 >> k, generator=generator) for k in LEVELS}


def make_boxes() -> list[Tensor]:
    corners = torch.rand(2, 12, 2, generator=torch.Generator().manual_seed(1)) * 30
    sides = torch.rand(2, 12, 2, generator=torch.Generator().manual_seed(2)) * 33 + 1
    return list(torch.cat((corners, corners + sides), dim=2))


def test_the_rule_of_torchvision_is_its_own_module() -> None:
    pool = make_box_pool(LEVELS, canonical_size=32)
    assert type(pool) is MultiScaleRoIAlign
    ours = RuledRoIAlign(LEVELS, canonical_size=32, rule="torchvision")
    pooled = [module(make_features(), make_boxes(), SHAPES) for module in (pool, ours)]
    torch.testing.assert_close(*pooled)


def test_another_rule_reads_other_levels() -> None:
    features, boxes = make_features(), make_boxes()
    pool = make_box_pool(LEVELS, canonical_size=32, rule="natural")
    expected = pool_rois(
        list(features.values()), boxes, levels=LEVELS, canonical_size=32, rule="natural"
    )
    pooled = pool(features, boxes, SHAPES)
    assert torch.equal(pooled, expected)
    assert not torch.equal(
        pooled, make_box_pool(LEVELS, canonical_size=32)(features, boxes, SHAPES)
    )


@pytest.mark.parametrize("reading", ["adaptive", "soft"])
def test_all_levels_are_read(reading: Reading) -> None:
    pool = make_box_pool(LEVELS, reading=reading)
    assert isinstance(pool, AllLevelsRoIAlign)
    pooled = pool(make_features(), make_boxes(), SHAPES)
    assert [feature.shape for feature in pooled] == [(24, 6, 7, 7)] * 3
    head = make_box_head(6, 3, reading=reading, width=10)
    assert head(pooled).shape == (24, 10)


def test_adaptive_pooling_of_one_level_is_the_plain_head() -> None:
    plain = make_box_head(6, 1, width=10)
    adaptive = adaptive_linear(6, 1, width=10, norm=False)
    weights = dict(zip(adaptive.state_dict(), plain.state_dict().values(), strict=True))
    adaptive.load_state_dict(weights)
    (pooled,) = AllLevelsRoIAlign((3,))(make_features(), make_boxes(), SHAPES)
    torch.testing.assert_close(adaptive([pooled]), plain(pooled))


def test_soft_selection_that_selects_one_level_is_the_plain_head() -> None:
    soft = make_box_head(6, 1, reading="soft", width=10)
    assert isinstance(soft, nn.Sequential)
    nn.init.constant_(soft[0].weigh.bias, 50.0)  # type: ignore[union-attr, arg-type]
    (pooled,) = AllLevelsRoIAlign((3,))(make_features(), make_boxes(), SHAPES)
    torch.testing.assert_close(soft([pooled]), soft[1](pooled))


@pytest.mark.parametrize("reading", ["level", "adaptive", "soft"])
@pytest.mark.parametrize("channels", [6, 7, 32])
def test_heads_of_convolutions_fit_any_width(reading: Reading, channels: int) -> None:
    head = make_box_head(channels, 2, reading=reading, head="convs", width=10)
    levels = [torch.randn(3, channels, 7, 7) for _ in range(2)]
    assert head(levels[0] if reading == "level" else levels).shape == (3, 10)
    convolutions = [part for part in head.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == {"level": 4, "adaptive": 5, "soft": 6}[reading]
