"""What ``detector.py`` of a trained detector does beside building it: loading, detecting.

Written out by :mod:`nas_fpn.run.leave`; imports nothing of this package but what is written out
with it.
"""

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import timm
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from nas_fpn.detect.images import as_rgb, letterbox

__all__ = ["Features", "Neck", "detect", "read_parts", "run_file"]


class Neck(Protocol):
    """What a recursive detector asks of the exported neck."""

    inputs: tuple[int, ...]
    levels: tuple[int, ...]
    out_channels: tuple[int, ...]

    def __call__(self, features: Sequence[Tensor], /) -> Sequence[Tensor]:
        """One feature [B, C, H, W] per level of ``inputs`` to one per level of ``levels``."""


class Features(nn.Module):
    """The net of a backbone: images [B, 3, S, S] in 0..1 to features [B, C, H, W] by level."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.net = net
        self.stages = {int(level): place for level, place in config["stages"].items()}
        self.levels = tuple(self.stages)
        self.channels = {int(level): channels for level, channels in config["channels"].items()}
        for name in ("mean", "std"):
            value = torch.tensor(config[name]).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Give the features of the levels."""
        features = self.net((images - self.mean) / self.std)
        return {level: features[place] for level, place in self.stages.items()}


def read_parts(folder: Path) -> tuple[dict[str, Any], nn.Module, nn.Module]:
    """``config.json`` of a folder, its backbone and its neck; the weights are not loaded yet."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    arguments = json.loads((folder / "neck" / "config.json").read_text(encoding="utf-8"))
    neck = run_file(folder / "neck" / "neck.py").Neck(**arguments)
    backbone = config["backbone"]
    if "file" in backbone:
        make = getattr(run_file(folder / backbone["file"]), backbone["name"])
        net = make(**backbone["arguments"])
    else:
        indices = tuple(backbone["out_indices"])
        arguments = backbone["arguments"]
        net = timm.create_model(
            backbone["name"], features_only=True, out_indices=indices, **arguments
        )
    return config, Features(net, backbone), neck


def run_file(path: Path) -> ModuleType:
    """Run a Python file and give it as a module."""
    name = f"{path.stem}_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def detect(
    model: nn.Module, picture: PILImage.Image | str | Path, proposals: Tensor | None = None
) -> dict[str, Tensor]:
    """Boxes [n, 4] (x0, y0, x1, y1) in pixels of the picture, scores [n] and labels [n].

    The best comes first. Labels are indices into ``model.config["classes"]``. A Fast R-CNN is given
    ``proposals`` [m, 4], in pixels of the picture, as no other is.
    """
    if not isinstance(picture, PILImage.Image):
        picture = PILImage.open(picture)
    config: Mapping[str, Any] = model.config  # type: ignore[assignment]
    pixels, scale = letterbox(as_rgb(picture), config["image_size"])
    device = next(model.parameters()).device
    images = [pixels.to(device).float() / 255]
    if proposals is None:
        (found,) = model(images)
    else:
        (found,) = model(images, [{"proposals": (proposals.float() * scale).to(device)}])
    boxes = found["boxes"].float().cpu() / scale
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, picture.width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, picture.height)
    labels = found["labels"].cpu() - config["label_offset"]
    return {"boxes": boxes, "scores": found["scores"].float().cpu(), "labels": labels}
