"""RoIs: the published level rules and torchvision's pooling, as numbers and as an oracle."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from nas_fpn.detect import LevelRule, pool_rois, pool_rois_from_all, roi_levels

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"
LEVELS = (2, 3, 4, 5)
FAMILIES = ("level_mapping_", "multiscale_roi_align_")
POOLED = ("s224", "s56", "s56_adaptive")
OTHER_RULES: tuple[tuple[LevelRule, float, int], ...] = (  # rule, s0, k0: as each code has them
    ("detectron", 224, 4),
    ("detectron", 56, 2),
    ("mmdet", 56, 2),
    ("natural", 224, 4),
)

parity = pytest.mark.skipif(
    not PARITY.is_dir(), reason="the parity cases (../shared/parity) are not there"
)


def read(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    about = json.loads((PARITY / f"{name}.json").read_text())
    return about, load_file(PARITY / f"{name}.safetensors")


def make_features(channels: int = 5, levels: tuple[int, ...] = LEVELS) -> list[Tensor]:
    """Two images of 128 x 192 pixels."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, channels, 128 >> k, 192 >> k, generator=generator).requires_grad_()
        for k in levels
    ]


def make_boxes(counts: tuple[int, ...] = (40, 25), *, seed: int = 2) -> list[Tensor]:
    """Boxes of sides 2 to 180 pixels, evenly in the logarithm; some reach out of the image."""
    generator = torch.Generator().manual_seed(seed)
    boxes = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 120
        sides = 2 * 90 ** torch.rand(count, 2, generator=generator)
        boxes.append(torch.cat((corner, corner + sides), dim=1))
    return boxes


def torchvision_pool(features: list[Tensor], boxes: list[Tensor], **settings: Any) -> Tensor:
    names = [f"p{i}" for i in range(len(features))]
    pool = MultiScaleRoIAlign(names, 7, settings.pop("sampling_ratio", 2), **settings)
    return pool(dict(zip(names, features, strict=True)), boxes, [(128, 192)] * 2)


# Parity


def test_every_case_of_the_families_is_here() -> None:
    if not PARITY.is_dir():
        pytest.skip("the parity cases (../shared/parity) are not there")
    there = {p.stem for p in PARITY.glob("*.json") if p.stem.startswith(FAMILIES)}
    assert there == {
        "level_mapping_torchvision",
        "level_mapping_other_rules",
        *(f"multiscale_roi_align_{name}" for name in POOLED),
    }


@parity
def test_levels_are_torchvision_s_numbers() -> None:
    about, tensors = read("level_mapping_torchvision")
    for name, config in about["config"]["cases"].items():
        k_min, k_max = config["k_min"], config["k_max"]
        found = roi_levels(
            tensors["in.0"],
            levels=range(k_min, k_max + 1),
            canonical_size=config["s0"],
            canonical_level=config["k0"],
        )
        assert torch.equal(found - k_min, tensors[name]), name
    assert len(about["config"]["cases"]) == sum(key.startswith("out.") for key in tensors)


@parity
def test_levels_are_the_other_codes_numbers() -> None:
    _, tensors = read("level_mapping_other_rules")
    assert len(OTHER_RULES) == sum(key.startswith("out.") for key in tensors)
    for i, (rule, size, level) in enumerate(OTHER_RULES):
        found = roi_levels(
            tensors["in.0"], levels=LEVELS, canonical_size=size, canonical_level=level, rule=rule
        )
        assert torch.equal(found - 2, tensors[f"out.{i}"]), rule


@parity
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", POOLED)
def test_pooled_features_are_torchvision_s_numbers(name: str, static: bool) -> None:
    about, tensors = read(f"multiscale_roi_align_{name}")
    config, tolerance = about["config"], about["tolerance"]
    boxes = [tensors["in.4"], tensors["in.5"]]
    rule = {
        "canonical_size": config["canonical_scale"],
        "canonical_level": config["canonical_level"],
    }
    levels = range(config["k_min"], config["k_max"] + 1)
    pooled = pool_rois(
        [tensors[f"in.{i}"] for i in range(4)],
        boxes,
        levels=levels,
        output_size=config["output_size"],
        sampling_ratio=config["sampling_ratio"],
        static=static,
        **rule,
    )
    torch.testing.assert_close(
        pooled,
        tensors["out.0"],
        atol=tolerance["float32_atol"],
        rtol=tolerance["float32_rtol"],
    )
    found = roi_levels(torch.cat(boxes), levels=levels, **rule)
    assert torch.equal(found - config["k_min"], tensors["out.1"])


# Levels


@pytest.mark.parametrize("levels", [LEVELS, (3, 4, 5, 6, 7), (4,)])
@pytest.mark.parametrize(("size", "level"), [(224, 4), (56, 4), (100, 3)])
def test_levels_equal_torchvision_s_mapper(levels: tuple[int, ...], size: int, level: int) -> None:
    boxes = make_boxes((3000,))[0] * torch.tensor([1.0, 1.0, 6.0, 4.0])
    mapper = LevelMapper(levels[0], levels[-1], size, level)
    found = roi_levels(boxes, levels=levels, canonical_size=size, canonical_level=level)
    assert torch.equal(found, mapper([boxes]) + levels[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64])
def test_a_box_of_a_power_of_two_belongs_to_the_coarser_level(dtype: torch.dtype) -> None:
    sides = torch.tensor([0, 1, 111, 112, 223, 224, 447, 448, 896], dtype=dtype)
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)
    for rule in ("torchvision", "mmdet"):
        assert roi_levels(boxes, levels=LEVELS, rule=rule).tolist() == [2, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(("rule", "less"), [("torchvision", 0), ("mmdet", 0), ("detectron", 1)])
def test_a_hair_below_the_boundary_is_still_above(rule: LevelRule, less: int) -> None:
    for side, level in ((112, 3), (224, 4), (448, 5)):
        sides = side * torch.tensor([1 - 1e-5, 1 - 3e-7, 1.0], dtype=torch.float64) - less
        boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)
        found = roi_levels(boxes, levels=LEVELS, rule=rule)
        assert found.tolist() == [level - 1, level, level]


def test_levels_equal_torchvision_s_mapper_float_by_float_at_a_boundary() -> None:
    side = torch.tensor([112.0, 224.0, 448.0])[:, None] * (1 + torch.arange(-40, 41) * 2.0**-23)
    corner = torch.zeros(side.numel(), 2)
    boxes = torch.cat((corner, side.reshape(-1, 1).expand(-1, 2)), dim=1)
    expected = LevelMapper(2, 5)([boxes]) + 2
    assert len(set(expected.tolist())) == 4
    assert torch.equal(roi_levels(boxes, levels=LEVELS), expected)


def test_levels_are_those_of_the_area_alone() -> None:
    boxes = make_boxes((200,))[0]
    sides = (boxes[:, 2:] - boxes[:, :2]).flip(1)
    turned = torch.cat((boxes[:, :2], boxes[:, :2] + sides), dim=1)
    levels = roi_levels(boxes, levels=LEVELS, canonical_size=56)
    assert set(levels.tolist()) == set(LEVELS)
    assert torch.equal(roi_levels(turned, levels=LEVELS, canonical_size=56), levels)
    free = roi_levels(boxes, levels=range(20), canonical_level=12)  # no box is clamped
    assert torch.equal(roi_levels(boxes * 2, levels=range(20), canonical_level=12), free + 1)


def test_an_inside_out_box_goes_to_the_finest_level() -> None:
    boxes = torch.tensor([[50.0, 10.0, 40.0, 300.0]])
    assert roi_levels(boxes, levels=LEVELS).tolist() == [2]


# Pooling


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_pooling_equals_torchvision_with_gradients(sampling_ratio: int, static: bool) -> None:
    features, boxes = make_features(), make_boxes()
    expected = torchvision_pool(
        features, boxes, sampling_ratio=sampling_ratio, canonical_scale=56, canonical_level=4
    )
    pooled = pool_rois(
        features,
        boxes,
        levels=LEVELS,
        sampling_ratio=sampling_ratio,
        canonical_size=56,
        static=static,
    )
    torch.testing.assert_close(pooled, expected)
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        torch.autograd.grad((pooled * weights).sum(), features),
        torch.autograd.grad((expected * weights).sum(), features),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("levels", [(3,), (3, 4), (3, 4, 5, 6)])
def test_pooling_equals_torchvision_at_other_levels(levels: tuple[int, ...]) -> None:
    features, boxes = make_features(levels=levels), make_boxes()
    expected = torchvision_pool(features, boxes)
    torch.testing.assert_close(pool_rois(features, boxes, levels=levels), expected)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (3, 5)])
def test_every_level_gives_roialign_of_every_box(size: tuple[int, int], aligned: bool) -> None:
    features, boxes = make_features(), make_boxes()
    pooled = pool_rois_from_all(
        features, boxes, levels=LEVELS, output_size=size, aligned=aligned, sampling_ratio=1
    )
    for feature, level, one in zip(features, LEVELS, pooled, strict=True):
        expected = roi_align(feature, boxes, size, 1 / 2**level, 1, aligned)
        assert torch.equal(one, expected)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_one_level_is_a_choice_from_all(static: bool, aligned: bool) -> None:
    features, boxes = make_features(), make_boxes()
    everywhere = pool_rois_from_all(features, boxes, levels=LEVELS, aligned=aligned)
    found = roi_levels(torch.cat(boxes), levels=LEVELS, canonical_size=56, rule="detectron")
    assert len(set(found.tolist())) == 4
    pooled = pool_rois(
        features,
        boxes,
        levels=LEVELS,
        aligned=aligned,
        canonical_size=56,
        rule="detectron",
        static=static,
    )
    for i, level in enumerate(found.tolist()):
        assert torch.equal(pooled[i], everywhere[level - 2][i])


def test_a_padded_tensor_of_boxes_is_as_good_as_a_list() -> None:
    features, boxes = make_features(), torch.stack(make_boxes((9, 9)))
    pooled = pool_rois(features, boxes, levels=LEVELS)
    assert torch.equal(pooled, pool_rois(features, list(boxes), levels=LEVELS))


@pytest.mark.parametrize(
    ("static", "counts"), list(itertools.product([False, True], [(0, 0), (0, 3), (1, 0)]))
)
def test_images_without_boxes_are_allowed(static: bool, counts: tuple[int, int]) -> None:
    features, boxes = make_features(), make_boxes(counts)
    pooled = pool_rois(features, boxes, levels=LEVELS, static=static)
    assert pooled.shape == (sum(counts), 5, 7, 7)
    gradients = torch.autograd.grad(pooled.sum(), features)
    assert all(gradient.isfinite().all() for gradient in gradients)
    if sum(counts):
        torch.testing.assert_close(pooled, torchvision_pool(features, boxes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_short_features_are_pooled_at_exact_boxes(dtype: torch.dtype) -> None:
    features = [feature.to(dtype) for feature in make_features()]
    boxes = make_boxes()
    exact = pool_rois([f.to(torch.float64) for f in features], boxes, levels=LEVELS)
    pooled = pool_rois(features, boxes, levels=LEVELS)
    assert pooled.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(pooled.double(), exact, atol=max(eps, 1e-5), rtol=eps)


def test_static_pooling_has_no_shape_that_depends_on_data() -> None:
    def shape(**settings: Any) -> tuple[int, ...]:
        with FakeTensorMode():
            features = [torch.zeros(2, 5, 128 >> k, 192 >> k) for k in LEVELS]
            boxes = torch.zeros(2, 30, 4)
            return tuple(pool_rois(features, boxes, levels=LEVELS, **settings).shape)

    assert shape(static=True) == (60, 5, 7, 7)
    with pytest.raises(torch._subclasses.fake_tensor.DynamicOutputShapeException):
        shape(static=False)


# Messages


def with_channels(*channels: int) -> list[Tensor]:
    return [torch.zeros(2, c, 8, 8) for c in channels]


NO_BOXES = [torch.zeros(0, 4)] * 2
FAULTS: dict[str, Callable[[], object]] = {
    "roi_levels_apart": lambda: roi_levels(torch.zeros(1, 4), levels=(2, 4, 5)),
    "roi_levels_none": lambda: pool_rois_from_all([], NO_BOXES, levels=()),
    "roi_rule": lambda: roi_levels(torch.zeros(1, 4), levels=LEVELS, rule="detectorn"),
    "roi_features": lambda: pool_rois(with_channels(4, 4, 4), NO_BOXES, levels=LEVELS),
    "roi_channels": lambda: pool_rois(with_channels(4, 4, 8, 8), NO_BOXES, levels=LEVELS),
    "roi_images": lambda: pool_rois_from_all(with_channels(4), NO_BOXES[:1], levels=(3,)),
    "roi_boxes": lambda: pool_rois(
        with_channels(4), [torch.zeros(2, 4), torch.zeros(3, 5)], levels=(3,)
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_messages(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        FAULTS[name]()
    assert f"{caught.value}\n" == (GOLDEN / f"{name}.txt").read_text()
