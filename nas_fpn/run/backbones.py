"""The backbones of a run's bank: as it comes with weights, warmed up without, or tuned in folds.

What was trained stays in ``bank/`` of the run's folder and is found again.
"""

import hashlib
import json
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from nas_fpn.detect import DetectorSettings, label_offset
from nas_fpn.detect.dataset import Dataset, take, to_coco
from nas_fpn.errors import RunError
from nas_fpn.language import Architecture, lower
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.building import Fold
from nas_fpn.proxy.own_backbone import own_file
from nas_fpn.proxy.settings import TUNING, BackboneSettings, ProxySettings
from nas_fpn.proxy.train import pick_device
from nas_fpn.proxy.warmup import load_images, warm_up
from nas_fpn.run.data import Data
from nas_fpn.run.settings import Run
from nas_fpn.run.train_start import first_detector
from nas_fpn.search.header import PROXY_MAY_CHANGE
from nas_fpn.training import TrainingSettings, fit_detector

__all__ = ["Ready", "Step", "needs_warmup", "ready_backbones", "tuned_file"]


@dataclass(frozen=True, slots=True)
class Step:
    """How far a stage of the preparation is: ``done`` of ``total``."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """Frozen backbones for a bank: one, or one for each fold of train.

    ``warmed`` is the file with the weights of a warm-up, the state dict of the backbone's net
    before it was tuned; None where it came with weights. ``notes`` say of a tuning what answers
    repeat.
    """

    backbone: Backbone | tuple[Fold, ...]
    warmed: Path | None
    notes: tuple[str, ...] = ()


def needs_warmup(settings: BackboneSettings) -> bool:
    """Whether images have to be set aside for a warm-up."""
    return settings.weights == "none" and settings.warmup_steps > 0


def tuned_file(settings: BackboneSettings) -> str:
    """The name of a tuned backbone's weights, with places for their "key" and the fold's number."""
    how = f"{settings.tune_steps}x{settings.tune_folds}"
    return f"tuned-{how}-{{key}}-{{number}}.safetensors"


def ready_backbones(
    run: Run, data: Data, levels: Sequence[int], *, neck: Architecture
) -> Generator[Step, None, Ready]:
    """Make the backbones that give a bank its features; yield how far that is.

    ``neck`` is trained with them and then thrown away. They are frozen, on the proxy's device.

    Raises:
        RunError: for what is wrong with backbone or weights, and for more folds than images.
        FloatingPointError: when a training diverged.
    """
    folder, seed = run.folder / "bank", run.settings.seed
    device = pick_device(run.settings.proxy.device)
    first = build_backbone(run.backbone, levels, seed=seed)
    warmed = None
    if data.warmup is not None:
        warmed = yield from _warmed(run, first, data.warmup, neck, folder)
        first.net.load_state_dict(load_file(warmed))
    if not run.backbone.tune_steps:
        return Ready(first.freeze().to(device), warmed)
    files = yield from _tuned(run, first, data.train, neck, folder, warmed)
    backbones = [first, *(build_backbone(run.backbone, levels, seed=seed) for _ in files[1:])]
    for backbone, (path, _) in zip(backbones, files, strict=True):
        backbone.net.load_state_dict(load_file(path))
        backbone.freeze().to(device)
    notes = (_note(run.backbone),)
    if len(files) == 1:
        return Ready(first, warmed, notes)
    folds = zip(backbones, files, strict=True)
    return Ready(tuple(Fold(backbone, images) for backbone, (_, images) in folds), warmed, notes)


def _note(settings: BackboneSettings) -> str:
    said = f"backbone: tuned for {settings.tune_steps} steps on train"
    if settings.tune_folds == 1:
        return f"{said}, whose images the necks train on: what it has memorised may mislead them"
    return (
        f"{said}, in {settings.tune_folds} parts: the features of each are those of a backbone "
        "tuned on the others; val and test are seen by the first"
    )


def _warmed(
    run: Run, backbone: Backbone, data: Dataset, neck: Architecture, folder: Path
) -> Generator[Step, None, Path]:
    """The file with the weights of the warm-up, the one on disk or a new one."""
    settings = run.settings.proxy
    total = run.backbone.warmup_steps
    path = folder / f"backbone-{_warmup_key(run, backbone, neck, data)}.safetensors"
    if not path.is_file():
        channels = [backbone.channels[level] for level in lower(neck).inputs]
        module = Neck(neck, channels, seed=run.settings.seed)
        images = load_images(data, settings.image_size)
        yield Step("warming up the backbone", 0, total)
        with _threads(run):
            for report in warm_up(
                backbone, module, images, settings, run.backbone, seed=run.settings.seed
            ):
                yield Step("warming up the backbone", report.steps, total)
        _keep(path, backbone.net.state_dict())
    return path


def _tuned(
    run: Run,
    backbone: Backbone,
    train: Dataset,
    neck: Architecture,
    folder: Path,
    warmed: Path | None,
) -> Generator[Step, None, list[tuple[Path, tuple[int, ...]]]]:
    """For each fold its images and the file with a backbone tuned on the others; the first first.

    A fold's backbone starts from the weights before, with a head of the proxy's kind; some of it
    stands still, and it learns at a tenth of the head's rate, as a detector's with weights does.
    """
    folds = _dealt(run, len(train.images))
    detector, training = _recipe(run)
    said = tuned_file(run.backbone)
    key = _tuning_key(run, backbone, neck, train, [detector, training])
    found: list[tuple[Path, tuple[int, ...]]] = []
    for number, mine in enumerate(folds, start=1):
        path = folder / said.format(key=key, number=number)
        found.append((path, mine))
        if path.is_file():
            continue
        held_out = set(mine) if len(folds) > 1 else set[int]()
        others = take(train, [n for n in range(len(train.images)) if n not in held_out])
        parts = first_detector(
            neck,
            others,
            detector=detector,
            training=training,
            backbone=run.backbone,
            seed=run.settings.seed,
            init=None,
            warmed=warmed,
        )
        stage = "tuning the backbone" + (f", {number} of {len(folds)}" if len(folds) > 1 else "")
        yield Step(stage, 0, training.steps)
        reports = fit_detector(
            parts.model,
            others,
            training,
            seed=run.settings.seed,
            label_offset=label_offset(detector),
            backbones=parts.backbones,
        )
        with _threads(run):
            try:
                for report in reports:
                    yield Step(stage, report.steps, training.steps)
            except FloatingPointError as fault:
                raise FloatingPointError(f"{stage} (its tune_learning_rate): {fault}") from None
        tuned = parts.backbone.net.state_dict()  # as deep as the neck reads; the rest is as before
        _keep(path, {**backbone.net.state_dict(), **tuned})
    return found


def _recipe(run: Run) -> tuple[DetectorSettings, TrainingSettings]:
    """The detector of a tuning, with the proxy's head, and how it is trained.

    Not those of ``[detector]`` and ``[training]``: these may change while a run goes on.
    """
    proxy, backbone = run.settings.proxy, run.backbone
    head = {"head_depth": proxy.head_depth, "tower": proxy.tower, "anchor_size": proxy.anchor_size}
    reach = {"reach": proxy.reach} if proxy.reach is not None else {}
    training = TrainingSettings(
        steps=backbone.tune_steps,
        learning_rate=backbone.tune_learning_rate,
        evaluations=1,
        device=proxy.device,
    ).model_copy(update={"image_size": proxy.image_size})
    return DetectorSettings.model_validate({"kind": proxy.head, **head, **reach}), training


def _dealt(run: Run, images: int) -> list[tuple[int, ...]]:
    """The places of the images of each fold, dealt by the seed of the splits."""
    folds = run.backbone.tune_folds
    if images < folds:
        raise RunError(
            f"{run.folder / 'run.toml'}: tune_folds = {folds} in [backbone], but train has "
            f"{images} images; set fewer folds"
        )
    order = random.Random(run.data.split_seed).sample(range(images), images)
    return [tuple(sorted(order[fold::folds])) for fold in range(folds)]


def _keep(path: Path, state: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")  # a killed writer leaves no half a file
    weights = {k: v.cpu().contiguous() for k, v in state.items()}
    partial.write_bytes(save(weights))  # not save_file, whose error for a full disk is its own
    partial.replace(path)


def _warmup_key(run: Run, backbone: Backbone, neck: Architecture, data: Dataset) -> str:
    """A hash of all that decides the weights after the warm-up."""
    parts: list[Any] = [
        run.settings.seed,
        run.backbone.model_dump(mode="json", exclude=set(TUNING)),
        {key: getattr(run.settings.proxy, key) for key in _warmup_fields()}
        | {"threads": _thread_count(run)},
        list(backbone.levels),
        str(neck),
        *_facts_of(data),
    ]
    if own_file(run.backbone.name) is not None:  # its code decides them too
        parts.append(backbone.fingerprint())
    return _hashed(parts)


def _tuning_key(
    run: Run,
    backbone: Backbone,
    neck: Architecture,
    data: Dataset,
    recipe: Sequence[DetectorSettings | TrainingSettings],
) -> str:
    """A hash of all that decides the weights of the folds, ``backbone`` being where they start."""
    return _hashed(
        [
            run.settings.seed,
            run.data.split_seed,
            run.backbone.tune_folds,
            backbone.fingerprint(),
            [settings.model_dump(mode="json") for settings in recipe],
            _thread_count(run),
            str(neck),
            *_facts_of(data),
        ]
    )


def _facts_of(data: Dataset) -> tuple[dict[str, Any], list[int]]:
    return to_coco(data), [image.path.stat().st_size for image in data.images]


def _hashed(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _threads(run: Run) -> Iterator[None]:
    """The threads of a warm-up, and those from before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(_thread_count(run))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _thread_count(run: Run) -> int:
    """The same in every session: the last digits of the weights hang on them."""
    return run.settings.proxy.threads if run.threads is None else run.threads


def _warmup_fields() -> list[str]:
    """Of the proxy's settings, those that the warm-up reads: all but a trial's own."""
    of_a_trial = {"steps", "batch_size", "learning_rate", "weight_decay", "optimiser", "warmup"}
    of_a_trial |= set(PROXY_MAY_CHANGE)
    stored = {"evaluations", "views", "dtype", "precision"}
    return sorted(set(ProxySettings.model_fields) - of_a_trial - stored)
