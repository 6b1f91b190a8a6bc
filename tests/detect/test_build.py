"""One suite for all detectors: what holds for each kind and option by being listed."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from nas_fpn.detect import DetectorSettings, build_detector, inference_state_dict
from nas_fpn.detect.body import BackboneWithNeck

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
CLASSES = {
    "fcos": FCOS,
    "retinanet": RetinaNet,
    "ssd": SSD,
    "faster_rcnn": FasterRCNN,
    "fast_rcnn": FasterRCNN,
}
DETECTORS: dict[str, dict[str, Any]] = {
    "fcos": {"kind": "fcos", "head_depth": 1},
    "fcos, coupled": {"kind": "fcos", "head_depth": 1, "tower": "coupled"},
    "fcos, no tower": {"kind": "fcos", "head_depth": 0},
    "fcos, no norm": {"kind": "fcos", "head_depth": 1, "head_norm": "none"},
    "fcos, projected": {"kind": "fcos", "head_depth": 1, "width": 24},
    "fcos, switchable": {"kind": "fcos", "head_depth": 1, "switchable": True, "image_size": 96},
    "retinanet": {"kind": "retinanet", "head_depth": 1},
    "retinanet, coupled": {"kind": "retinanet", "head_depth": 1, "tower": "coupled"},
    "retinanet, norm": {"kind": "retinanet", "head_depth": 1, "head_norm": "group"},
    "ssd": {"kind": "ssd"},
    "faster_rcnn": {"kind": "faster_rcnn"},
    "faster_rcnn, convs": {"kind": "faster_rcnn", "box_head": "convs"},
    "faster_rcnn, rule": {"kind": "faster_rcnn", "roi_rule": "detectron"},
    "faster_rcnn, adaptive": {"kind": "faster_rcnn", "roi": "adaptive"},
    "faster_rcnn, adaptive convs": {
        "kind": "faster_rcnn",
        "roi": "adaptive",
        "box_head": "convs",
        "roi_levels": (3, 4),
    },
    "faster_rcnn, soft": {"kind": "faster_rcnn", "roi": "soft"},
    "faster_rcnn, consistent": {"kind": "faster_rcnn", "consistent": 0.25},
    "fast_rcnn": {"kind": "fast_rcnn"},
    "fast_rcnn, consistent": {"kind": "fast_rcnn", "consistent": 0.25},
}
FPN_64 = "width 64\np2..p5 = c2..c5 -> conv1\np4..p2 = sum(p4..p2, p5..p3)\np6 = p5 -> subsample"
ONE_SCALE = "p5 = c5 -> conv1[24]"
NO_LATERAL = "width 8\np4 = sum(c4 -> conv1, c5 -> conv1)"
RAGGED = "p3 = c3 -> conv1[16]\np4 = c4 -> conv1[24]\np5 = c5 -> conv1[32]"

Make = Callable[..., Any]


class Gap(nn.Module):
    """A neck of somebody's own that gives levels 3 and 5."""

    inputs = levels = (3, 5)
    out_channels = (8, 32)


class Fine(nn.Module):
    """A backbone that ends at level 3."""

    levels = (2, 3)


@pytest.fixture(params=list(DETECTORS))
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DETECTORS[request.param]


def told(model: nn.Module, kind: str, batch: Make, **size: int) -> list[dict[str, Tensor]]:
    images, targets = batch(kind, **size)
    with torch.no_grad():
        if kind == "fast_rcnn":
            given = [{"proposals": target["proposals"]} for target in targets]
            return model.eval()(images, given)
        return model.eval()(images)


def test_it_is_torchvisions_class(make: Make, options: dict[str, Any]) -> None:
    assert type(make(**options)) is CLASSES[options["kind"]]


def test_losses_are_finite_and_reach_every_part(
    make: Make, batch: Make, options: dict[str, Any]
) -> None:
    model = make(**options)
    size = {"image_size": options["image_size"]} if "image_size" in options else {}
    losses = model(*batch(options["kind"], **size))
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    for part in (model.backbone.body, model.backbone.neck):
        assert sum(float(p.grad.abs().sum()) for p in part.parameters()) > 0


def test_the_seed_alone_decides_the_weights(make: Make, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    one, after = make(**options, seed=5).state_dict(), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1)), "the global generator is left alone"
    two, other = make(**options, seed=5).state_dict(), make(**options, seed=6).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    differ = {key for key in one if not torch.equal(one[key], other[key])}
    assert differ
    assert not any(key.startswith(("backbone.body", "backbone.neck")) for key in differ)


def test_boxes_told_lie_inside_the_image_and_a_copy_tells_the_same(
    make: Make, batch: Make, options: dict[str, Any]
) -> None:
    kind, size = options["kind"], options.get("image_size", 64)
    model = make(**options)
    model(*batch(kind, image_size=size))
    twin = copy.deepcopy(model)
    sum(twin(*batch(kind, image_size=size)).values()).backward()
    assert all(p.grad is None for p in model.parameters())
    ours, theirs = (told(m, kind, batch, image_size=size) for m in (model, twin))
    low = 0 if kind in ("fcos", "retinanet") else 1
    for seen, same in zip(ours, theirs, strict=True):
        boxes, scores, labels = seen["boxes"], seen["scores"], seen["labels"]
        assert boxes.shape == (len(scores), 4)
        assert 0 < len(scores) == len(labels) <= 100
        assert boxes.min() >= 0
        assert boxes.max() <= size
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert low <= labels.min()
        assert labels.max() < low + 4
        assert all(torch.equal(seen[key], same[key]) for key in seen)


@pytest.mark.parametrize("kind", CLASSES)
def test_one_scale_is_a_detector_too(make: Make, batch: Make, kind: str) -> None:
    model = make(kind=kind, neck=ONE_SCALE)
    assert torch.isfinite(sum(model(*batch(kind)).values()))
    assert list(model.backbone(torch.rand(1, 3, 64, 64))) == ["p5"]
    assert len(told(model, kind, batch)) == 2


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "ssd", "faster_rcnn"])
def test_images_of_other_sizes_are_brought_to_the_networks(make: Make, kind: str) -> None:
    model = make(kind=kind).eval()
    with torch.no_grad():
        (seen,) = model([torch.rand(3, 48, 100)])
    assert seen["boxes"].numel()
    assert seen["boxes"][:, 0::2].max() <= 100.001
    assert seen["boxes"][:, 1::2].max() <= 48.001


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "faster_rcnn"])
def test_levels_of_several_widths_need_a_projection(make: Make, batch: Make, kind: str) -> None:
    with pytest.raises(ValueError, match="share one head") as caught:
        make(kind=kind, neck=RAGGED)
    golden = (GOLDEN / "detector_ragged.txt").read_text(encoding="utf-8")
    assert f"{caught.value}\n" == golden
    model = make(kind=kind, neck=RAGGED, width=24)
    assert list(model.backbone.project) == ["p3", "p5"], "p4 has that width"
    assert torch.isfinite(sum(model(*batch(kind)).values()))


def test_heads_of_ssd_fit_levels_of_several_widths(make: Make, batch: Make) -> None:
    model = make(kind="ssd", neck=RAGGED)
    assert torch.isfinite(sum(model(*batch("ssd")).values()))


@pytest.mark.parametrize("width", [7, 20, 48])
def test_groups_fit_widths_that_32_does_not_divide(make: Make, batch: Make, width: int) -> None:
    model = make(kind="fcos", neck=f"p3..p5 = c3..c5 -> conv1[{width}]", head_depth=1)
    assert torch.isfinite(sum(model(*batch("fcos")).values()))


def fault(make: Make, **options: Any) -> str:
    with pytest.raises(ValueError) as caught:
        make(**options)
    return f"{caught.value}\n"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gap", {"kind": "fcos", "neck": Gap(), "width": 8}),
        ("roi_levels", {"kind": "faster_rcnn", "roi_levels": (3, 7)}),
        ("roi_gap", {"kind": "faster_rcnn", "roi_levels": (2, 4)}),
        ("no_lateral", {"kind": "faster_rcnn", "consistent": 0.25, "neck": NO_LATERAL}),
        ("lateral_unknown", {"kind": "faster_rcnn", "consistent": 0.25, "laterals": ("m2",) * 4}),
        ("laterals_count", {"kind": "faster_rcnn", "consistent": 0.25, "laterals": ("p2",)}),
    ],
)
def test_message(make: Make, name: str, options: dict[str, Any]) -> None:
    golden = (GOLDEN / f"detector_{name}.txt").read_text(encoding="utf-8")
    assert fault(make, **options) == golden


def test_a_neck_that_reads_more_than_the_backbone_gives_is_refused(make: Make) -> None:
    golden = (GOLDEN / "detector_backbone_levels.txt").read_text(encoding="utf-8")
    assert fault(make, kind="fcos", backbone=Fine()) == golden


# --- the same weights in detectors built by torchvision's own constructors --------------------


def by_torchvision(kind: str, body: BackboneWithNeck, size: int) -> nn.Module:
    """What a person writes who has torchvision and our numbers."""
    common: dict[str, Any] = {
        "min_size": size,
        "max_size": size,
        "fixed_size": (size, size),
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
        "score_thresh": 0.01,
    }
    ratios = ((0.5, 1.0, 2.0),) * 5
    if kind == "fcos":
        points = AnchorGenerator(((4,), (8,), (16,), (32,), (64,)), ((1.0,),) * 5)
        return FCOS(body, 4, anchor_generator=points, **common)
    if kind == "retinanet":
        sides = ((32, 40, 50), (64, 80, 101), (128, 161, 203), (256, 322, 406), (512, 645, 812))
        generator = AnchorGenerator(sides, ratios)
        return RetinaNet(body, 4, anchor_generator=generator, detections_per_img=100, **common)
    del common["score_thresh"]
    return FasterRCNN(
        body,
        5,
        rpn_anchor_generator=AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ratios),
        box_roi_pool=MultiScaleRoIAlign(["p2", "p3", "p4", "p5"], 7, 2),
        box_score_thresh=0.01,
        **common,
    )


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "faster_rcnn"])
def test_with_torchvisions_settings_it_is_torchvisions_detector(kind: str, make: Make) -> None:
    wide = {"box_width": 1024, "proposals_test": 1000} if kind == "faster_rcnn" else {}
    ours = make(kind=kind, image_size=800, neck=FPN_64, **wide)
    body = copy.deepcopy(ours.backbone)
    theirs = by_torchvision(kind, body, 800)
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (one,), (two,) = ours.eval()([image]), theirs.eval()([image])
    assert one["boxes"].numel()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_settings_of_the_rpn_and_the_box_head_are_torchvisions(make: Make) -> None:
    body = nn.Identity()
    body.out_channels = 32  # type: ignore[assignment]
    theirs = FasterRCNN(body, 5)
    settings = DetectorSettings(kind="faster_rcnn", score_threshold=0.05)
    parts = make(kind="faster_rcnn").backbone
    ours = build_detector(settings, parts.body, parts.neck, num_classes=4, image_size=800, seed=0)
    for name in ("nms_thresh", "score_thresh", "min_size", "_pre_nms_top_n", "_post_nms_top_n"):
        assert getattr(ours.rpn, name) == getattr(theirs.rpn, name), name
    for name in ("score_thresh", "nms_thresh", "detections_per_img"):
        assert getattr(ours.roi_heads, name) == getattr(theirs.roi_heads, name), name
    for part in ("rpn", "roi_heads"):
        one, two = getattr(ours, part), getattr(theirs, part)
        assert vars(one.fg_bg_sampler) == vars(two.fg_bg_sampler)
        assert vars(one.proposal_matcher) == vars(two.proposal_matcher)
        assert vars(one.box_coder) == vars(two.box_coder)
    for name in ("output_size", "sampling_ratio", "canonical_scale", "canonical_level"):
        assert getattr(ours.roi_heads.box_roi_pool, name) == getattr(
            theirs.roi_heads.box_roi_pool, name
        )


# --- AugFPN's consistent supervision ------------------------------------------------------------


def test_the_auxiliary_head_is_there_in_training_only(make: Make, batch: Make) -> None:
    model = make(kind="faster_rcnn", consistent=0.25)
    extra = {"loss_auxiliary_classifier", "loss_auxiliary_box_reg"}
    assert extra < set(model(*batch("faster_rcnn")))
    assert model.roi_heads.laterals.kept == {}
    seen = told(model, "faster_rcnn", batch)
    assert model.roi_heads.laterals.kept == {}
    plain = make(kind="faster_rcnn", seed=9)
    plain.load_state_dict(inference_state_dict(model))
    for one, two in zip(seen, told(plain, "faster_rcnn", batch), strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_losses_of_the_main_head_are_those_without_the_auxiliary(make: Make, batch: Make) -> None:
    model, plain = make(kind="faster_rcnn", consistent=0.25), make(kind="faster_rcnn")
    plain.load_state_dict(inference_state_dict(model))
    torch.manual_seed(0)
    ours = model(*batch("faster_rcnn"))
    torch.manual_seed(0)
    for name, loss in plain(*batch("faster_rcnn")).items():
        assert torch.equal(loss, ours[name]), name


def test_auxiliary_losses_go_with_their_weight(make: Make, batch: Make) -> None:
    model = make(kind="faster_rcnn", consistent=0.25)
    torch.manual_seed(0)
    one = model(*batch("faster_rcnn"))["loss_auxiliary_classifier"]
    model.roi_heads.weight = 0.5
    torch.manual_seed(0)
    two = model(*batch("faster_rcnn"))["loss_auxiliary_classifier"]
    torch.testing.assert_close(two, 2 * one)


def test_the_auxiliary_head_trains_the_laterals_alone(make: Make, batch: Make) -> None:
    text = "width 8\np4..p5 = c4..c5 -> conv1\np4..p5 = p4..p5 -> conv3"
    model = make(kind="faster_rcnn", consistent=1.0, neck=text)
    losses = model(*batch("faster_rcnn"))
    losses["loss_auxiliary_classifier"].backward()
    trained = {
        name.split(".")[0]
        for name, p in model.backbone.neck.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert trained == {"p4", "p5"}, "p4_2 and p5_2 lie behind them"


def test_laterals_may_be_named(make: Make, batch: Make) -> None:
    model = make(kind="faster_rcnn", consistent=0.25, laterals=("p2_2", "p3_2", "p4_2", "p5"))
    assert "loss_auxiliary_box_reg" in model(*batch("faster_rcnn"))


# --- it learns ------------------------------------------------------------------------------------


def test_features_have_the_names_of_their_levels(make: Make) -> None:
    features = make(kind="fcos").backbone(torch.rand(1, 3, 64, 64))
    assert isinstance(features, OrderedDict)
    assert [(name, f.shape[-1]) for name, f in features.items()] == [
        ("p2", 16),
        ("p3", 8),
        ("p4", 4),
        ("p5", 2),
        ("p6", 1),
    ]
