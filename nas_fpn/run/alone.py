"""What ``detector.py`` of a trained detector does beside building it: loading, detecting.

Written out by :mod:`nas_fpn.run.leave`; imports nothing of this package but what is written out
with it.
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.detect.build import build_detector
from nas_fpn.detect.images import letterbox
from nas_fpn.training.freeze import Standardised

__all__ = ["PARTS", "DetectorSettings", "TimmFeatures", "detect", "load"]


class DetectorSettings(SimpleNamespace):
    """The settings of the detector, as ``config.json`` has them."""


class TimmFeatures(nn.Module):
    """A timm model: images [B, 3, S, S] in 0..1 to features [B, C, H, W] by level."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.net = timm.create_model(
            config["name"],
            features_only=True,
            out_indices=tuple(config["out_indices"]),
            **config["arguments"],
        )
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


def load(folder: str | Path | None = None) -> nn.Module:
    """The detector of a folder, by default this file's, with its weights, in evaluation mode.

    It is torchvision's class: images [3, H, W] in 0..1 in a list, to "boxes", "scores" and
    "labels" of each. Its ``config`` is that of the folder.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("exported_neck", folder / "neck" / "neck.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = json.loads((folder / "neck" / "config.json").read_text(encoding="utf-8"))
    model = build_detector(
        DetectorSettings(**config["detector"]),  # type: ignore[arg-type]
        Standardised(TimmFeatures(config["backbone"]), {}),
        module.Neck(**arguments),
        num_classes=len(config["classes"]),
        image_size=config["image_size"],
        seed=0,
    )
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.config = config
    return model.eval()


@torch.no_grad()
def detect(model: nn.Module, picture: PILImage.Image | str | Path) -> dict[str, Tensor]:
    """Boxes [n, 4] (x0, y0, x1, y1) in pixels of the picture, scores [n] and labels [n].

    The best comes first. Labels are indices into ``model.config["classes"]``.
    """
    if not isinstance(picture, PILImage.Image):
        picture = PILImage.open(picture)
    config: Mapping[str, Any] = model.config  # type: ignore[assignment]
    pixels, scale = letterbox(picture.convert("RGB"), config["image_size"])
    device = next(model.parameters()).device
    (found,) = model([pixels.to(device).float() / 255])
    boxes = found["boxes"].float().cpu() / scale
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, picture.width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, picture.height)
    labels = found["labels"].cpu() - config["label_offset"]
    return {"boxes": boxes, "scores": found["scores"].float().cpu(), "labels": labels}


PARTS = (load, detect)
