"""A trained detector leaves: a folder from which torch, torchvision and timm rebuild it.

``detector.py`` holds the library's own source of what the detector is made of, and the text of
``alone.py``; the neck comes from the exported ``neck/neck.py``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nas_fpn.detect import DetectorSettings, build_detector, label_offset
from nas_fpn.detect.dataset import Category
from nas_fpn.detect.images import letterbox
from nas_fpn.export.operations import definitions
from nas_fpn.proxy.backbone import Backbone
from nas_fpn.run import alone
from nas_fpn.training import Standardised, write_tensors

__all__ = ["STATISTICS", "detector_source", "leave_detector"]

STATISTICS = "features.safetensors"  # what the features were standardised with

HEAD = '''\
"""A detector, rebuilt from the files beside this one; needs torch, torchvision, timm, safetensors.

    model = load()                      # a torchvision detector, in evaluation mode
    found = detect(model, "fish.jpg")   # boxes, scores, labels; names: model.config["classes"]
"""

from __future__ import annotations

'''


def leave_detector(
    folder: Path,
    model: nn.Module,
    backbone: Backbone,
    detector: DetectorSettings,
    *,
    categories: Sequence[Category],
    image_size: int,
) -> None:
    """Write ``model.safetensors``, ``config.json`` and ``detector.py`` beside ``neck/``."""
    net: Any = backbone.net
    config = {
        "classes": [category.name for category in categories],
        "category_ids": [category.id for category in categories],
        "image_size": image_size,
        "label_offset": label_offset(detector),
        "backbone": {
            "name": backbone.settings.name,
            "arguments": dict(backbone.settings.arguments),
            "out_indices": list(net.feature_info.out_indices),
            "stages": {str(k): place for k, place in backbone.stages.items()},
            "channels": {str(k): channels for k, channels in backbone.channels.items()},
            "mean": backbone.mean.flatten().tolist(),
            "std": backbone.std.flatten().tolist(),
        },
        "detector": detector.model_dump(mode="json"),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "detector.py").write_text(detector_source(), encoding="utf-8", newline="\n")
    write_tensors(folder / "model.safetensors", model.state_dict(), {"format": "pt"})


def detector_source() -> str:
    """The text of ``detector.py``, the same for every detector."""
    found = definitions(
        [build_detector, Standardised, letterbox, *alone.PARTS],
        instead={DetectorSettings: alone.DetectorSettings},
    )
    imports = [_import(*row) for row in sorted(found.imports)]
    return HEAD + "\n".join(imports) + "".join(f"\n\n\n{source}" for source in found.sources) + "\n"


def _import(module: str, name: str, other: str) -> str:
    renamed = f" as {other}" if other else ""
    return f"from {module} import {name}{renamed}" if name else f"import {module}{renamed}"
