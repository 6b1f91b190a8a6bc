"""The adapter for torchvision, with torchvision's own detectors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import _api, resnet18
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.retinanet import _default_anchorgen

from nas_fpn.errors import RunError
from nas_fpn.language import parse
from nas_fpn.necks import Neck
from tests.export.adapters.adapted import adapt, adapter, neck_of, run_alone, scaled, snippet

NECKS = ("fpn", "from c2", "one level", "a gap", "names that adapters have")


def detector(kind: str, made: Any, backbone: nn.Module) -> nn.Module:
    size = {"min_size": 64, "max_size": 96}
    if kind == "RetinaNet":
        return RetinaNet(backbone, 3, anchor_generator=made.retinanet_anchors(), **size)
    if kind == "FCOS":
        return FCOS(backbone, 3, anchor_generator=made.fcos_anchors(), **size)
    anchors, pool = made.faster_rcnn_anchors(), made.faster_rcnn_pool()
    return FasterRCNN(backbone, 3, rpn_anchor_generator=anchors, box_roi_pool=pool, **size)


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, *size, generator=generator) for size in ((64, 80), (70, 64))]
    boxes = torch.tensor([[4.0, 4.0, 40.0, 44.0], [20.0, 10.0, 60.0, 60.0]])
    return images, [{"boxes": boxes, "labels": torch.tensor([1, 2])} for _ in images]


@pytest.mark.parametrize("kind", ["RetinaNet", "FCOS", "FasterRCNN"])
def test_each_detector_trains_and_predicts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(NECKS[:3]):
        neck = neck_of(name)
        made = adapter(
            adapt(neck, tmp_path / f"{kind}{number}", "torchvision"), "torchvision", monkeypatch
        )
        torch.manual_seed(0)
        backbone = made.resnet_with_neck("resnet18")
        model = detector(kind, made, backbone)
        images, targets = batch()
        losses = model.train()(images, targets)
        sum(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values())
        still = [key for key, p in backbone.neck.named_parameters() if p.grad is None]
        assert not still, name
        torch.optim.SGD(model.parameters(), 1e-4).step()
        with torch.no_grad():
            (found, _) = model.eval()(images)
        assert {"boxes", "scores", "labels"} <= found.keys(), name


@pytest.mark.parametrize("of_run", [False, True])
def test_the_features_are_the_necks(
    of_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit; of a run the backbone's features are scaled as the neck was trained."""
    for number, name in enumerate(NECKS):
        neck = neck_of(name)
        folder = adapt(neck, tmp_path / f"run{of_run}{number}", "torchvision", of_run=of_run)
        made = adapter(folder, "torchvision", monkeypatch)
        model = made.resnet_with_neck("resnet18").eval()
        images = torch.rand(1, 3, 95, 70)
        features = list(model.body(images).values())
        expected = neck(scaled(neck, features) if of_run else features)
        found = model(images)
        assert list(found) == [str(k) for k in range(len(neck.levels))]
        assert all(map(torch.equal, found.values(), expected))
        assert model.out_channels == neck.out_channels[0]


def test_any_body_may_give_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neck = neck_of("fpn")
    made = adapter(adapt(neck, tmp_path / "body", "torchvision"), "torchvision", monkeypatch)
    features = [torch.rand(1, n, s, s) for n, s in zip(neck.in_channels, (8, 4, 2), strict=True)]

    class Body(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return features

    model = made.BackboneWithNeck(Body()).eval()
    assert all(map(torch.equal, model(torch.rand(1, 3, 64, 64)).values(), neck(features)))
    with pytest.raises(ValueError, match=r"for \(128, 256, 512\) channels, but .* \(8, 8, 8\)"):
        made.BackboneWithNeck(Body(), (8, 8, 8))
    other = made.BackboneWithNeck(Body(), (8, 8, 8), neck_weights=False)
    features[:] = [torch.rand(1, 8, s, s) for s in (8, 4, 2)]
    assert list(other(torch.rand(1, 3, 64, 64))) == ["0", "1", "2", "3", "4"]


def test_the_layers_that_learn_are_torchvisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    neck = neck_of("from c2")
    made = adapter(adapt(neck, tmp_path / "learns", "torchvision"), "torchvision", monkeypatch)
    for layers in range(6):
        theirs = resnet_fpn_backbone(
            backbone_name="resnet18",
            weights=None,
            norm_layer=nn.BatchNorm2d,
            trainable_layers=layers,
        ).body
        ours = made.resnet_with_neck("resnet18", trainable_layers=layers).body
        assert {key: p.requires_grad for key, p in ours.named_parameters()} == {
            key: p.requires_grad for key, p in theirs.named_parameters()
        }


def test_a_trained_resnet_has_its_norms_frozen_and_its_last_layers_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(
        adapt(neck_of("fpn"), tmp_path / "frozen", "torchvision"), "torchvision", monkeypatch
    )
    weights = resnet18().state_dict()
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *_, **__: weights)
    body = made.resnet_with_neck("resnet18", weights="DEFAULT").body
    assert not any(isinstance(part, nn.BatchNorm2d) for part in body.modules())
    learns = {key.partition(".")[0] for key, p in body.named_parameters() if p.requires_grad}
    assert learns == {"layer2", "layer3", "layer4"}
    kept = body.state_dict()
    assert all(torch.equal(kept[key], weights[key]) for key in kept)


def test_anchors_of_the_usual_levels_are_torchvisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(
        adapt(neck_of("fpn"), tmp_path / "p37", "torchvision"), "torchvision", monkeypatch
    )
    theirs = _default_anchorgen()
    assert made.retinanet_anchors().sizes == theirs.sizes
    assert made.retinanet_anchors().aspect_ratios == theirs.aspect_ratios
    made = adapter(
        adapt(neck_of("from c2"), tmp_path / "p26", "torchvision"), "torchvision", monkeypatch
    )
    backbone = made.resnet_with_neck("resnet18")
    theirs = FasterRCNN(backbone, 3)
    assert made.faster_rcnn_anchors().sizes == theirs.rpn.anchor_generator.sizes
    assert made.faster_rcnn_pool().featmap_names == theirs.roi_heads.box_roi_pool.featmap_names


def test_levels_of_several_channels_are_refused(tmp_path: Path) -> None:
    neck = Neck(parse("p3 = c3 -> conv1[8]\np4 = c4 -> conv1[12]\n"), [8, 8])
    with pytest.raises(RunError, match=r"one number of channels, but p3\.\.p4 have"):
        adapt(neck, tmp_path, "torchvision")
    folder = adapt(neck, tmp_path, "all")
    assert not (folder / "for_torchvision.py").exists()
    assert "There is no adapter for torchvision" in (folder / "README.md").read_text()


def test_the_readme_is_followed_without_this_package(tmp_path: Path) -> None:
    folder = adapt(neck_of("panet"), tmp_path, "torchvision")
    program = snippet(folder, "torchvision") + (
        "model.transform.min_size, model.transform.max_size = (64,), 96\n"
        "print(sorted(model.eval()([torch.rand(3, 64, 64)])[0]))\n"
    )
    assert run_alone(folder, program) == "['boxes', 'labels', 'scores']\n"
