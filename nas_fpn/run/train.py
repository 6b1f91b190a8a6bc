"""One detector trained end to end: a job as a value, and the folder that it leaves.

A job travels to a worker process as paths and settings, no tensors. The same job gives the same
folder; one that was interrupted goes on, and one that is done is read.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas_fpn.detect import DetectorSettings, average_precision, build_detector, label_offset
from nas_fpn.detect.dataset import Dataset, to_coco
from nas_fpn.errors import RunError
from nas_fpn.export import export_neck
from nas_fpn.language import SHIPPED, Architecture, Words, identity, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.own_backbone import code_of, own_file
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.record import Report
from nas_fpn.run.data import Data, read_data
from nas_fpn.run.leave import STATISTICS, leave_detector
from nas_fpn.run.prepare import Step
from nas_fpn.run.proposals import proposal_hashes, proposed
from nas_fpn.run.train_log import TrainLog
from nas_fpn.training import (
    Checkpoint,
    Standardised,
    TrainingSettings,
    detect_all,
    fit_detector,
    measure,
    write_detections,
)

__all__ = ["TrainJob", "run_train"]

TRAINING = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """A detector to train, into ``folder``. Paths are absolute.

    ``neck`` is the text of a program of ``words``; ``init`` an exported folder that its weights
    start from, else they start from ``seed``, as do the heads and the order of the images.
    ``split`` is where the trained detector is scored; while it trains it is scored on val.
    ``cache`` is where the embedded scenes are drawn, if no data is given; None: in the folder.
    ``warmed`` is a state dict of the backbone's net, as deep as the neck reads, in place of
    ``backbone.weights``.
    """

    folder: Path
    neck: str
    words: Words = SHIPPED
    init: Path | None = None
    detector: DetectorSettings
    training: TrainingSettings
    backbone: BackboneSettings
    data: DataSettings
    seed: int = 0
    split: Literal["val", "test"] = "test"
    cache: Path | None = None
    warmed: Path | None = None


def run_train(job: TrainJob) -> Iterator[Step | Report]:
    """Train the detector of a job; yield how far it is, its losses and scores.

    The last report has the scores on the job's split. The folder then holds ``neck/`` (exported,
    with the weights trained end to end), ``model.safetensors``, ``config.json`` and ``detector.py``
    (the detector without this package), ``detections-SPLIT.safetensors``, ``metrics.json`` and
    ``log.jsonl``, a line for each report.

    Raises:
        RunError: where the folder holds another training, or backbone, neck, detector and weights
            do not fit together.
        DataError: for a fault in the data.
        FloatingPointError: when the training diverged.
    """
    torch.set_num_threads(job.training.threads)
    settings = job.training
    question = _question(job)
    log = TrainLog(job.folder, question)
    if (last := log.outcome()) is not None:
        yield last
        return
    yield Step("reading the data", 0, 1)
    data = read_data(
        job.data,
        job.cache or job.folder / "data",
        image_size=settings.image_size,
        needs_warmup=False,
    )
    if job.detector.kind == "fast_rcnn":
        data = proposed(data, job.data)
    architecture = parse(job.neck, words=job.words)
    model, parts = _build(job, architecture, data)
    total = settings.steps_for(len(data.train.images))
    yield Step(TRAINING, 0, total)
    checkpoint = Checkpoint(
        job.folder / "checkpoint.safetensors", _fingerprint(question, parts, data)
    )
    offset = label_offset(job.detector)
    reports = fit_detector(
        model,
        data.train,
        settings,
        seed=job.seed,
        val=data.val,
        label_offset=offset,
        backbone=parts.backbone if _has_weights(job) else None,
        checkpoint=checkpoint,
    )
    for report in reports:
        log.write(report)
        yield report
        yield Step(TRAINING, report.steps, total)
    held_out: Dataset = getattr(data, job.split)
    yield Step(f"detecting on {job.split}", 0, 1)
    found = detect_all(
        model,
        held_out,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        label_offset=offset,
    )
    model.cpu()
    scores = average_precision(to_coco(held_out), found, categories=held_out.categories)
    _export(job, parts, scores, steps=total)
    leave_detector(
        job.folder,
        model,
        parts.backbone,
        job.detector,
        categories=held_out.categories,
        image_size=settings.image_size,
    )
    write_detections(
        job.folder / f"detections-{job.split}.safetensors",
        found,
        categories=held_out.categories,
        split=job.split,
    )
    report = Report(total, scores, log.seconds)
    log.close(report, _counts(job, held_out, architecture), notes=(*data.notes, *_notes(job)))
    checkpoint.path.unlink(missing_ok=True)
    yield report


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the detector is made of, to be looked at afterwards."""

    backbone: Backbone
    standard: Standardised
    neck: Neck


def _build(job: TrainJob, architecture: Architecture, data: Data) -> tuple[nn.Module, _Parts]:
    """The detector with its first weights."""
    levels = lower(architecture).inputs
    backbone = build_backbone(job.backbone, levels, seed=job.seed)
    if job.warmed is not None:
        warmed = load_file(job.warmed)  # of a run, whose other necks may read deeper stages
        backbone.net.load_state_dict({key: warmed[key] for key in backbone.net.state_dict()})
    neck = Neck(architecture, [backbone.channels[level] for level in levels], seed=job.seed)
    statistics: Mapping[int, tuple[Tensor, Tensor]] = {}
    if job.init is not None:
        statistics = _start(neck, job.init)
    recursive = job.detector.recursive_steps > 1  # it feeds the bare backbone, stage by stage
    if recursive and statistics:
        raise RunError(
            f"{job.init}: its weights expect standardised features ({STATISTICS}), which a "
            "recursive detector does not have; leave --init out, or set recursive_steps = 1"
        )
    if not statistics and _has_weights(job) and not recursive:
        statistics = measure(backbone, data.train, image_size=job.training.image_size)
    standard = Standardised(backbone, statistics)
    try:
        model = build_detector(
            job.detector,
            backbone if recursive else standard,
            neck,
            num_classes=len(data.train.categories),
            image_size=job.training.image_size,
            seed=job.seed,
        )
    except ValueError as fault:
        raise RunError(f"[detector] kind = {job.detector.kind!r}: {fault}") from fault
    return model, _Parts(backbone, standard, neck)


def _notes(job: TrainJob) -> Iterator[str]:
    """What a reader of the scores has to know of the start."""
    if job.warmed is not None:
        yield f"backbone: from {job.warmed.name}, warmed up in a run"
    if job.init is not None and not _has_weights(job):
        yield (
            "init: the weights of the neck were trained on the features of a backbone with "
            "weights, and this one began without any"
        )


def _has_weights(job: TrainJob) -> bool:
    """Whether the backbone begins with weights, so that it is to be treated with care."""
    return job.warmed is not None or job.backbone.weights != "none"


def _start(neck: Neck, folder: Path) -> dict[int, tuple[Tensor, Tensor]]:
    """Give ``neck`` the weights of an exported folder; return the statistics beside them.

    The weights expect features that are scaled so, whichever backbone they come from.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise RunError(f"{path}: no such file\n--init names an exported folder, as best/ of a run")
    given, expected = load_file(path), neck.state_dict()
    faults = [f"{key}: not in it" for key in expected if key not in given]
    faults += [f"{key}: not in the neck" for key in given if key not in expected]
    faults += [
        f"{key}: {tuple(given[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:5])
        more = f"\n  … and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise RunError(
            f"{path}: does not fit this neck, which reads channels {neck.in_channels} of "
            f"{', '.join(f'c{level}' for level in neck.inputs)}\n{shown}{more}\n"
            "give the same program, width and backbone as it was trained with"
        )
    neck.load_state_dict(given)
    beside = folder / STATISTICS
    if not beside.is_file():
        return {}
    numbers = load_file(beside)
    return {
        level: (numbers[f"mean.c{level}"], numbers[f"std.c{level}"])
        for level in neck.inputs
        if f"mean.c{level}" in numbers
    }


def _export(job: TrainJob, parts: _Parts, scores: Mapping[str, float], *, steps: int) -> None:
    started = f"seed {job.seed}" if job.init is None else f"the weights of {job.init.name}"
    export_neck(
        parts.neck.cpu(),
        job.folder / "neck",
        image_size=job.training.image_size,
        scores=scores,
        provenance={
            "weights": f"trained end to end in {job.detector.kind}, from {started}",
            "scores": f"of the detector on {job.split}",
            "steps": f"{steps}, {job.training.batch_size} images each",
            "backbone": job.backbone.name,
            "input": f"features of the backbone as trained, as (c - mean) / std with {STATISTICS}",
        },
        beside={STATISTICS: "mean and std that the backbone's features were scaled by"},
    )
    save_file(parts.standard.statistics(), job.folder / "neck" / STATISTICS)


def _counts(job: TrainJob, held_out: Dataset, architecture: Architecture) -> dict[str, Any]:
    """What the scores are of, beside the scores."""
    boxes = {category.name: 0 for category in held_out.categories}
    for labels, crowd in zip(held_out.labels, held_out.crowd, strict=True):
        for label in labels[~crowd]:
            boxes[held_out.categories[label].name] += 1
    return {
        "neck": identity(architecture),
        "detector": job.detector.kind,
        "seed": job.seed,
        "split": job.split,
        "images": len(held_out.images),
        "boxes": boxes,
    }


def _question(job: TrainJob) -> dict[str, Any]:
    """All that was asked, as the folder remembers it."""
    return {
        "neck": job.neck,
        "words": [file.sha256 for file in job.words.files],
        "init": None if job.init is None else str(job.init),
        "detector": job.detector.model_dump(mode="json"),
        "training": job.training.model_dump(mode="json"),
        "backbone": job.backbone.model_dump(mode="json"),
        "code": _code(job.backbone.name),
        "warmed": None if job.warmed is None else str(job.warmed),
        "data": job.data.model_dump(mode="json"),
        "proposals": proposal_hashes(job.detector, job.data) or None,
        "seed": job.seed,
        "split": job.split,
    }


def _code(name: str) -> str | None:
    """The code of an own backbone: a training does not go on with another, nor silently anew."""
    own = own_file(name)
    return code_of(own[0].read_bytes(), own[1]) if own is not None and own[0].is_file() else None


def _fingerprint(question: Mapping[str, Any], parts: _Parts, data: Data) -> str:
    """A hash of all that decides the numbers: the question, the first weights, the data."""
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode())
    digest.update(parts.backbone.fingerprint().encode())
    for value in (*parts.neck.state_dict().values(), *parts.standard.statistics().values()):
        digest.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy())
    for dataset in (data.train, data.val):
        digest.update(json.dumps(to_coco(dataset)).encode())
        for boxes in dataset.proposals or ():
            digest.update(boxes.tobytes())
    return digest.hexdigest()
