"""The adapter for detectron2, with a fake of its interface: pip cannot install detectron2.

The fake has what the adapter touches, as detectron2's documentation and its FPN have it: a registry
of builders called with (cfg, input_shape), ``Backbone`` with its two properties, ``ShapeSpec``.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter

from tests.export.adapters.adapted import RESNET18, adapt, adapter, neck_of, scaled, snippet


@dataclass(frozen=True)
class ShapeSpec:
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Backbone(nn.Module, ABC):
    @abstractmethod
    def forward(self) -> None: ...

    @property
    def size_divisibility(self) -> int:
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {}


class Registry:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def register(self) -> Callable[[Any], Any]:
        def keep(made: Any) -> Any:
            assert made.__name__ not in self.kept
            self.kept[made.__name__] = made
            return made

        return keep

    def get(self, name: str) -> Any:
        return self.kept[name]


class FakeResNet(Backbone):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        layers = {f"layer{int(name[-1]) - 1}": name for name in names}
        self.net = IntermediateLayerGetter(resnet18(), layers)
        self.names = names

    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return dict(self.net(images))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            n: ShapeSpec(channels=RESNET18[int(n[-1])], stride=2 ** int(n[-1])) for n in self.names
        }


class CfgNode(SimpleNamespace):
    """Attributes that are made as they are named, for a snippet that sets some of a whole one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, CfgNode())
        return getattr(self, name)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """detectron2 as far as an adapter sees it."""
    kept = Registry()

    def build_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> FakeResNet:
        assert input_shape.channels == 3
        return FakeResNet(cfg.MODEL.RESNETS.OUT_FEATURES)

    parts: dict[str, dict[str, Any]] = {
        "detectron2": {},
        "detectron2.config": {"CfgNode": CfgNode},
        "detectron2.layers": {"ShapeSpec": ShapeSpec},
        "detectron2.modeling": {
            "BACKBONE_REGISTRY": kept,
            "Backbone": Backbone,
            "build_resnet_backbone": build_resnet_backbone,
        },
        "detectron2.model_zoo": {"get_config": lambda name: CfgNode()},
    }
    for name, held in parts.items():
        module = ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)
    vars(sys.modules["detectron2"])["model_zoo"] = sys.modules["detectron2.model_zoo"]
    return kept


@pytest.mark.parametrize("of_run", [False, True])
def test_a_configuration_builds_a_backbone_with_the_neck(
    of_run: bool, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("fpn", "from c2", "a gap", "names that adapters have")):
        neck = neck_of(name)
        folder = adapt(neck, tmp_path / f"d{of_run}{number}", "detectron2", of_run=of_run)
        adapter(folder, "detectron2", monkeypatch)
        cfg = CfgNode()
        cfg.MODEL.RESNETS.OUT_FEATURES = [f"res{level}" for level in (2, *neck.inputs)]
        (built,) = registry.kept
        model = registry.kept.pop(built)(cfg, ShapeSpec(channels=3)).eval()
        assert isinstance(model, Backbone)
        images = torch.rand(1, 3, 96, 64)
        features = [model.bottom_up(images)[f"res{level}"] for level in neck.inputs]
        found = model(images)
        expected = neck(scaled(neck, features) if of_run else features)
        assert list(found) == list(model.output_shape()) == [f"p{level}" for level in neck.levels]
        assert all(map(torch.equal, found.values(), expected)), name
        for feature, shape in zip(found.values(), model.output_shape().values(), strict=True):
            assert feature.shape[1] == shape.channels
            assert -(-96 // shape.stride) == feature.shape[2]
        assert model.size_divisibility == 2 ** neck.inputs[-1]
        assert model.padding_constraints == {}


def test_features_that_do_not_fit_are_refused(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(adapt(neck_of("fpn"), tmp_path / "d2", "detectron2"), "detectron2", monkeypatch)
    with pytest.raises(ValueError, match=r"gives \['res5'\], not \['res3', 'res4'\]: set MODEL"):
        made.BackboneWithNeck(FakeResNet(["res5"]))
    every = FakeResNet(["res2", "res3", "res4", "res5"])
    with pytest.raises(ValueError, match=r"levels \(3, 4, 5\), but the strides are \[4, 8, 16\]"):
        made.BackboneWithNeck(every, ("res2", "res3", "res4"))


def test_the_readme_sets_what_the_builder_reads(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapt(neck_of("panet"), tmp_path, "detectron2")
    monkeypatch.syspath_prepend(folder)
    for name in ("neck", "for_detectron2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    space: dict[str, Any] = {}
    exec(snippet(folder, "detectron2"), space)
    model = registry.get(space["cfg"].MODEL.BACKBONE.NAME)(space["cfg"], ShapeSpec(channels=3))
    given = list(model(torch.rand(2, 3, 64, 64)))
    assert given == space["cfg"].MODEL.RETINANET.IN_FEATURES
    assert len(space["cfg"].MODEL.ANCHOR_GENERATOR.SIZES) == len(given)
    for name in ("neck", "for_detectron2"):
        monkeypatch.delitem(sys.modules, name)
