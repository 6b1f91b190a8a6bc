"""A backbone for an exported neck: the run's own with its weights, or one of timm's by name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from nas_fpn.errors import RunError
from nas_fpn.export import PLAIN, BackboneParts, Form, add_backbone
from nas_fpn.language import SHIPPED, Architecture, lower, parse
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.own_backbone import own_file
from nas_fpn.proxy.settings import BackboneSettings
from nas_fpn.run.backbones import needs_warmup, tuned_file
from nas_fpn.run.confirmed_weights import DETECTOR, MARK
from nas_fpn.run.export_untrained import export_untrained
from nas_fpn.run.leave import STATISTICS
from nas_fpn.run.own_words import words_for
from nas_fpn.run.settings import Run, read_run
from nas_fpn.strange import inside

__all__ = ["add_run_backbone", "check_run_backbone", "export_with_backbone"]

_NET = "body.backbone.net."  # where a detector's state dict has the weights of timm's model


def export_with_backbone(
    architecture: Architecture,
    to: Path,
    *,
    name: str,
    pretrained: bool,
    seed: int,
    form: Form = PLAIN,
) -> None:
    """Export a neck with its first weights, for the timm model ``name``, and both as one module.

    ``pretrained`` takes timm's weights of that. Raises RunError where there is no such model, it
    does not give what the neck reads, or its weights cannot be fetched; and for a module of the
    user's, whose code is not run.
    """
    _check_is_timms(name)
    settings = BackboneSettings(name=name, weights="imagenet" if pretrained else "none")
    backbone = build_backbone(settings, lower(architecture).inputs, seed=seed)
    said = (
        "The backbone has timm's weights; the neck is not trained."
        if pretrained
        else "Neither backbone nor neck is trained."
    )
    parts = _parts(backbone, said=said)
    channels = ",".join(map(str, backbone.channels.values()))
    export_untrained(architecture, to, channels=channels, seed=seed, form=form)
    if form.width is not None:
        architecture = architecture.with_width(form.width)
    add_backbone(to, architecture, parts)


def check_run_backbone(folder: Path, name: str) -> None:
    """Raise RunError where the run in ``folder`` has another backbone than ``name``, or its own.

    Ask before the export: the neck may have to be trained for it.
    """
    run = read_run(folder)
    _check_is_timms(run.backbone.name)
    if name != run.backbone.name:
        raise RunError(
            f"--with-backbone {name}: the necks of {folder} read the features of another backbone\n"
            f"name that one: --with-backbone {run.backbone.name}"
        )


def add_run_backbone(
    folder: Path, to: Path, name: str, *, number: int | None = None, trust: bool = False
) -> None:
    """Add the backbone of the run in ``folder`` to what was exported from it.

    Where that is the front (several objectives, and no trial's ``number``), to each of its necks. A
    neck of a verdict end to end gets the backbone that was trained with it. Raises what
    :func:`check_run_backbone` does, and RunError where the weights are missing, or the detector of
    the verdict is more than one backbone and one neck.
    """
    check_run_backbone(folder, name)
    run = read_run(folder)
    places, front = [to], to / "front.json"
    if number is None and len(run.settings.objectives) > 1:
        listed = json.loads(front.read_text(encoding="utf-8"))["front"]
        places = [to / one["folder"] for one in listed]
    for place in places:
        _check_is_plain(place)
    for place in places:
        text = (place / "neck.neck").read_text(encoding="utf-8")
        words = words_for(run, [text], trust=trust) if run.settings.words else SHIPPED
        add_backbone(place, parse(text, words=words), _run_parts(run, place))


def _check_is_timms(name: str) -> None:
    if own_file(name) is not None:
        raise RunError(
            f"--with-backbone: {name} is a backbone of your own, and with_backbone/ makes timm's "
            "only\nexport the neck without --with-backbone and give it your backbone's features; "
            "nas-fpn train leaves a whole detector, with your file in it"
        )


def _check_is_plain(place: Path) -> None:
    """Raise RunError where the neck was trained with more than a backbone that feeds it once."""
    if "confirmed" not in json.loads((place / MARK).read_text(encoding="utf-8")):
        return
    path = place / DETECTOR / "config.json"
    detector = json.loads(path.read_text(encoding="utf-8"))["detector"]
    for name, plain in (("recursive_steps", 1), ("switchable", False)):
        if (found := detector.get(name, plain)) != plain:
            raise RunError(
                f"{path}: {name} = {json.dumps(found)}: the neck was trained with a backbone that "
                f"timm does not make\nexport it without --with-backbone; {DETECTOR}/ has both"
            )


def _run_parts(run: Run, place: Path) -> BackboneParts:
    """The backbone that the neck in ``place`` was trained on, and what lies between them."""
    numbers = load_file(place / STATISTICS)
    levels = sorted(int(key.removeprefix("mean.c")) for key in numbers if key.startswith("mean."))
    statistics = {level: (numbers[f"mean.c{level}"], numbers[f"std.c{level}"]) for level in levels}
    mark = json.loads((place / MARK).read_text(encoding="utf-8"))
    if "confirmed" in mark:
        state = load_file(place / DETECTOR / "model.safetensors")
        backbone = _untrained(run, levels)
        found = {key.partition(_NET)[2]: v for key, v in state.items() if _NET in key}
        backbone.net.load_state_dict(found)
        said = f"Both were trained end to end; {DETECTOR}/ in the folder above is all of it."
        return _parts(backbone, statistics, said=said)
    if run.backbone.tune_steps:
        backbone = _untrained(run, levels)
        name = tuned_file(run.backbone).format(key="*", number=1)  # that of val and test
        _load(backbone, _trained(run, name))
        said = "The backbone was tuned in the run and frozen; the neck was trained on it."
    elif needs_warmup(run.backbone):
        backbone = _untrained(run, levels)
        _load(backbone, _trained(run, "backbone-*.safetensors"))
        said = "The backbone was warmed up in the run and frozen; the neck was trained on it."
    else:
        backbone = build_backbone(run.backbone, levels, seed=run.settings.seed)
        said = f"The backbone has the weights {_weights(run)}, frozen; the neck was trained on it."
    return _parts(backbone, statistics, said=said)


def _untrained(run: Run, levels: Sequence[int]) -> Backbone:
    """The backbone of a run without its weights."""
    settings = run.backbone.model_copy(update={"weights": "none"})
    return build_backbone(settings, levels, seed=run.settings.seed)


def _load(backbone: Backbone, path: Path) -> None:
    """Take what it has of the weights in a file; other necks of the run may read deeper stages."""
    weights = load_file(path)
    backbone.net.load_state_dict({key: weights[key] for key in backbone.net.state_dict()})


def _trained(run: Run, pattern: str) -> Path:
    """The file of the weights that the run's backbone was left with."""
    there = sorted((run.folder / "bank").glob(pattern))
    if len(there) != 1:
        what = "has no backbone" if not there else "has backbones of several settings"
        raise RunError(
            f"{run.folder / 'bank'}: {what}\n"
            "nas-fpn search makes the one of its run.toml; remove those of other settings"
        )
    return inside(run.folder, there[0].relative_to(run.folder))


def _weights(run: Run) -> str:
    return "of timm" if run.backbone.weights == "imagenet" else Path(run.backbone.weights).name


def _parts(
    backbone: Backbone, statistics: Mapping[int, tuple[Tensor, Tensor]] | None = None, *, said: str
) -> BackboneParts:
    net: Any = backbone.net
    return BackboneParts(
        name=backbone.settings.name,
        arguments=dict(backbone.settings.arguments),
        out_indices=tuple(net.feature_info.out_indices),
        stages={level: int(stage) for level, stage in backbone.stages.items()},
        mean=tuple(backbone.mean.flatten().tolist()),
        std=tuple(backbone.std.flatten().tolist()),
        state=net.state_dict(),
        statistics=statistics or {},
        said=said,
    )
