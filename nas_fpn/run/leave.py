"""A trained detector leaves: a folder from which torch, torchvision and timm rebuild it.

``detector.py`` holds the library's own source of what the detector is made of, and the text of
``alone.py``; the neck comes from the exported ``neck/neck.py``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nas_fpn import necks
from nas_fpn.detect import DetectorSettings, label_offset
from nas_fpn.detect.body import BackboneWithNeck
from nas_fpn.detect.build import heads_of
from nas_fpn.detect.consistent import inference_state_dict
from nas_fpn.detect.dataset import Category
from nas_fpn.detect.recursive import RecursiveBackboneWithNeck, make_switchable
from nas_fpn.detect.two_stage import take_proposals
from nas_fpn.errors import RunError
from nas_fpn.export.operations import definitions
from nas_fpn.proxy.backbone import Backbone
from nas_fpn.proxy.own_backbone import code_of, own_file
from nas_fpn.run import alone
from nas_fpn.run.alone import detect, read_parts
from nas_fpn.training import Standardised, write_tensors

__all__ = ["STATISTICS", "detector_source", "leave_detector"]

STATISTICS = "features.safetensors"  # what the features were standardised with
OWN_BACKBONE = "backbone.py"  # the user's file, where the backbone is his own

HEAD = '''\
"""A detector, rebuilt from the files beside this one; needs torch, torchvision, timm, safetensors.

    model = load()                      # torchvision's own class, in evaluation mode
    found = detect(model, "fish.jpg")   # boxes, scores, labels; names: model.config["classes"]
"""

from __future__ import annotations

'''

LOAD = '''\
def load(folder: str | Path | None = None) -> nn.Module:
    """The detector of a folder, by default this file's, with its weights, in evaluation mode.

    Images [3, H, W] in 0..1 in a list, to "boxes", "scores" and "labels" of each. Its ``config``
    is that of the folder.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)
    config, backbone, neck = read_parts(folder)
{body}
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.config = config
    return model.eval()
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
    config = {
        "classes": [category.name for category in categories],
        "category_ids": [category.id for category in categories],
        "image_size": image_size,
        "label_offset": label_offset(detector),
        "backbone": {
            **_net(backbone, folder),
            "arguments": dict(backbone.settings.arguments),
            "stages": {str(k): place for k, place in backbone.stages.items()},
            "channels": {str(k): channels for k, channels in backbone.channels.items()},
            "mean": backbone.mean.flatten().tolist(),
            "std": backbone.std.flatten().tolist(),
        },
        "detector": detector.model_dump(mode="json"),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "detector.py").write_text(detector_source(detector), encoding="utf-8", newline="\n")
    write_tensors(folder / "model.safetensors", inference_state_dict(model), {"format": "pt"})


def _net(backbone: Backbone, folder: Path) -> dict[str, Any]:
    """How the net is made again: by timm, or by the user's own file, which goes along."""
    own = own_file(backbone.settings.name)
    if own is None:
        net: Any = backbone.net
        return {"name": backbone.settings.name, "out_indices": list(net.feature_info.out_indices)}
    path, function = own
    source = path.read_bytes()
    if backbone.code != code_of(source, function):
        raise RunError(
            f"{path}: has changed while its detector was trained\n"
            "put it back: the same command then ends the training"
        )
    (folder / OWN_BACKBONE).write_bytes(source)
    return {"name": function, "file": OWN_BACKBONE}


def detector_source(settings: DetectorSettings) -> str:
    """The text of ``detector.py``: equal settings give equal bytes."""
    make, told = heads_of(settings)
    targets, rows = _body(settings)
    if settings.kind == "ssd":
        given = {"channels": "body.widths"}
    else:
        given = {"levels": "body.levels", "channels": "body.out_channels"}
    given |= {"num_classes": 'len(config["classes"])', "image_size": 'config["image_size"]'}
    given |= {name: _literal(value) for name, value in told.items()}
    rows += [f"model = {make.__name__}(", "    body,"]
    rows += [f"    {name}={value}," for name, value in given.items()]
    rows.append(")")
    if settings.kind == "fast_rcnn":
        targets = [*targets, take_proposals]
        rows.append('model = take_proposals(model, image_size=config["image_size"])')
    found = definitions([make, *targets, read_parts, detect], instead={necks.Neck: alone.Neck})
    load = LOAD.format(body="\n".join(f"    {row}" for row in rows))
    needed = {*found.imports, ("safetensors.torch", "load_file", ""), ("torch", "nn", "")}
    needed |= {("pathlib", "Path", "")}
    imports = [_import(*row) for row in sorted(needed)]
    sources = [load.rstrip("\n"), *found.sources]
    return HEAD + "\n".join(imports) + "".join(f"\n\n\n{source}" for source in sources) + "\n"


def _body(settings: DetectorSettings) -> tuple[list[Any], list[str]]:
    """What backbone and neck are joined by: its definitions, and the rows that do it."""
    rows = ["make_switchable(backbone)"] if settings.switchable else []
    targets: list[Any] = [make_switchable] if settings.switchable else []
    if settings.recursive_steps == 1:
        ragged = settings.kind == "ssd"
        rows.append("backbone = Standardised(backbone, {})")
        rows.append(
            f"body = BackboneWithNeck(backbone, neck, width={settings.width}, ragged={ragged})"
        )
        return [*targets, BackboneWithNeck, Standardised], rows
    rows += [
        "body = RecursiveBackboneWithNeck(",
        "    backbone,",
        "    neck,",
        f"    steps={settings.recursive_steps},",
        f"    feedback_width={settings.recursive_width},",
        f"    shared={settings.recursive_shared},",
        f"    width={settings.width},",
        ")",
    ]
    return [*targets, RecursiveBackboneWithNeck], rows


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _import(module: str, name: str, other: str) -> str:
    renamed = f" as {other}" if other else ""
    return f"from {module} import {name}{renamed}" if name else f"import {module}{renamed}"
