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
from safetensors.torch import save_file

from nas_fpn.detect import DetectorSettings, average_precision, label_offset
from nas_fpn.detect.dataset import Dataset, to_coco
from nas_fpn.export import export_neck
from nas_fpn.language import SHIPPED, Architecture, Words, identity, parse
from nas_fpn.proxy.own_backbone import code_of, own_file
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.record import Report
from nas_fpn.run.data import Data, read_data
from nas_fpn.run.leave import STATISTICS, leave_detector
from nas_fpn.run.prepare import Step
from nas_fpn.run.proposals import proposal_hashes, proposed
from nas_fpn.run.train_log import TrainLog
from nas_fpn.run.train_start import Parts, first_detector
from nas_fpn.training import (
    Checkpoint,
    TrainingSettings,
    detect_all,
    fit_detector,
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
    parts = first_detector(
        architecture,
        data.train,
        detector=job.detector,
        training=job.training,
        backbone=job.backbone,
        seed=job.seed,
        init=job.init,
        warmed=job.warmed,
    )
    model = parts.model
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
        backbones=parts.backbones,
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
    log.close(
        report, _counts(job, held_out, architecture), notes=(*data.notes, *_notes(job, parts))
    )
    checkpoint.path.unlink(missing_ok=True)
    yield report


def _notes(job: TrainJob, parts: Parts) -> Iterator[str]:
    """What a reader of the scores has to know of the start."""
    if job.warmed is not None:
        yield f"backbone: from {job.warmed.name}, warmed up in a run"
    if job.init is not None and not parts.backbones:
        yield (
            "init: the weights of the neck were trained on the features of a backbone with "
            "weights, and this one began without any"
        )


def _export(job: TrainJob, parts: Parts, scores: Mapping[str, float], *, steps: int) -> None:
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


def _fingerprint(question: Mapping[str, Any], parts: Parts, data: Data) -> str:
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
