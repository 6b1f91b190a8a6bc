"""From images to the bank: the data read, the backbone loaded or warmed up, its features stored.

What has been made stays in the run's folder and is found again: ``data/`` (the embedded scenes)
and ``bank/`` (the warmed-up backbone and the features).
"""

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from nas_fpn.detect.dataset import Dataset, to_coco
from nas_fpn.language import Architecture, lower
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.building import build_bank
from nas_fpn.proxy.own_backbone import own_file
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import pick_device
from nas_fpn.proxy.warmup import load_images, warm_up
from nas_fpn.run.data import read_data
from nas_fpn.run.settings import Run
from nas_fpn.search.header import PROXY_MAY_CHANGE

__all__ = ["Prepared", "Step", "prepare"]


@dataclass(frozen=True, slots=True)
class Step:
    """How far a stage of the preparation is: ``done`` of ``total``."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The finished bank, and what was decided about the data that every answer must say.

    ``warmed`` is the file with the weights of a backbone that was warmed up, the state dict of its
    net; None where it came with weights.
    """

    bank: Path
    notes: tuple[str, ...]
    warmed: Path | None = None


def prepare(
    run: Run, levels: Sequence[int], *, warmup_neck: Architecture
) -> Generator[Step, None, Prepared]:
    """Make the bank of a run for the backbone's ``levels``; yield how far it is.

    ``warmup_neck`` is trained with a backbone that has no weights, and then thrown away.

    Raises:
        DataError, RunError: for what is wrong with data, backbone or weights.
        FloatingPointError: when the warm-up diverged.
    """
    settings = run.settings.proxy
    needs_warmup = run.backbone.weights == "none" and run.backbone.warmup_steps > 0
    yield Step("reading the data", 0, 1)
    data = read_data(
        run.data, run.folder / "data", image_size=settings.image_size, needs_warmup=needs_warmup
    )
    yield Step("reading the data", 1, 1)
    folder = run.folder / "bank"
    backbone = build_backbone(run.backbone, levels, seed=run.settings.seed)
    warmed = None
    if data.warmup is not None:
        warmed = yield from _warmed(run, backbone, data.warmup, warmup_neck, folder)
    backbone.freeze().to(pick_device(settings.device))
    steps = build_bank(
        folder,
        backbone=backbone,
        train=data.train,
        val=data.val,
        test=data.test,
        settings=settings,
    )
    path = folder
    for built in steps:
        path = built.path
        yield Step("storing features", built.done, built.total)
    return Prepared(path, data.notes, warmed)


def _warmed(
    run: Run, backbone: Backbone, data: Dataset, neck: Architecture, folder: Path
) -> Generator[Step, None, Path]:
    """Give ``backbone`` the weights of the warm-up, those on disk or new ones; return the file."""
    settings = run.settings.proxy
    total = run.backbone.warmup_steps
    path = folder / f"backbone-{_warmup_key(run, backbone, neck, data)}.safetensors"
    if not path.is_file():
        channels = [backbone.channels[level] for level in lower(neck).inputs]
        module = Neck(neck, channels, seed=run.settings.seed)
        images = load_images(data, settings.image_size)
        yield Step("warming up the backbone", 0, total)
        before = torch.get_num_threads()
        torch.set_num_threads(_threads(run))
        try:
            for report in warm_up(
                backbone, module, images, settings, run.backbone, seed=run.settings.seed
            ):
                yield Step("warming up the backbone", report.steps, total)
        finally:
            torch.set_num_threads(before)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")  # a killed writer leaves no half a file
        weights = {k: v.cpu().contiguous() for k, v in backbone.net.state_dict().items()}
        partial.write_bytes(save(weights))  # not save_file, whose error for a full disk is its own
        partial.replace(path)
    backbone.net.load_state_dict(load_file(path))
    return path


def _warmup_key(run: Run, backbone: Backbone, neck: Architecture, data: Dataset) -> str:
    """A hash of all that decides the weights after the warm-up."""
    sizes = [image.path.stat().st_size for image in data.images]
    parts: list[Any] = [
        run.settings.seed,
        run.backbone.model_dump(mode="json"),
        {key: getattr(run.settings.proxy, key) for key in _warmup_fields()}
        | {"threads": _threads(run)},
        list(backbone.levels),
        str(neck),
        to_coco(data),
        sizes,
    ]
    if own_file(run.backbone.name) is not None:  # its code decides them too
        parts.append(backbone.fingerprint())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _threads(run: Run) -> int:
    """Those of the warm-up, the same in every session: its last digits hang on them."""
    return run.settings.proxy.threads if run.threads is None else run.threads


def _warmup_fields() -> list[str]:
    """Of the proxy's settings, those that the warm-up reads: all but a trial's own."""
    of_a_trial = {"steps", "batch_size", "learning_rate", "weight_decay", "optimiser", "warmup"}
    of_a_trial |= set(PROXY_MAY_CHANGE)
    stored = {"evaluations", "views", "dtype", "precision"}
    return sorted(set(ProxySettings.model_fields) - of_a_trial - stored)
