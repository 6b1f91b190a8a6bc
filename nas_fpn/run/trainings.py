"""Trainings end to end of a contest: from a contender and a seed to a line of the record.

Each has a folder of its own, ``confirm/NECK-SEED`` in the run's, in which it goes on after a stop.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Self

from nas_fpn.detect import DetectorSettings
from nas_fpn.language import Words
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.record import Event, History, Report
from nas_fpn.run.contest import Contender
from nas_fpn.run.data import embedded
from nas_fpn.run.prepare import Step
from nas_fpn.run.proposals import proposal_hashes
from nas_fpn.run.settings import Run
from nas_fpn.run.train import TrainJob, run_train
from nas_fpn.strange import bounded, inside
from nas_fpn.training import TrainingSettings

__all__ = [
    "FOLDER",
    "Common",
    "Trained",
    "Training",
    "Trains",
    "make_training",
    "training_event",
    "training_folder",
    "trainings_on_record",
]

FOLDER = "confirm"  # of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all trainings of a contest share, beside neck and seed.

    ``data`` names files, also where they are the embedded scenes: those that the search saw, at
    its image size. ``bank`` is the bank's key, which stands for the data and the backbone;
    ``proposals`` are the hashes of the files that a Fast R-CNN reads, by split.
    """

    folder: Path
    words: Words
    detector: DetectorSettings
    training: TrainingSettings
    backbone: BackboneSettings
    data: DataSettings
    bank: str
    proposals: Mapping[str, str]
    warmed: Path | None

    @classmethod
    def of_run(cls, run: Run, bank: Bank, words: Words, *, warmed: Path | None) -> Self:
        """Take it from a run that is prepared."""
        data, size = run.data, run.settings.proxy.image_size
        if data.images is None:
            data = embedded(data, run.folder / "data", image_size=size)
        return cls(
            folder=run.folder / FOLDER,
            words=words,
            detector=run.settings.detector,
            training=run.settings.training,
            backbone=run.backbone,
            data=data,
            bank=bank.key,
            proposals=proposal_hashes(run.settings.detector, run.data),
            warmed=warmed,
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left: scores on test and the hash of its detections, or why it has none."""

    scores: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    detections: str | None = None
    reason: str | None = None


Trains = Callable[[TrainJob], Iterator[Step | Report]]


@dataclass(frozen=True, slots=True)
class Training:
    """Train a contender end to end; ``of`` is the hash of all that decides the result."""

    job: TrainJob
    neck: str
    of: str
    train: Trains = run_train

    def __call__(self) -> Generator[float, None, Trained]:
        """Yield the part done at each report. A training that diverged says so in its result."""
        folder = self.job.folder
        _claim(folder, self.of)
        last = Report(0, {})
        try:
            for event in self.train(self.job):
                if isinstance(event, Report):
                    last = event
                elif isinstance(event, Step) and event.total > 1:
                    yield event.done / event.total
        except FloatingPointError as fault:
            return Trained(steps=last.steps, seconds=last.seconds, reason=str(fault))
        file = folder / f"detections-{self.job.split}.safetensors"
        return Trained(
            dict(last.scores),
            last.steps,
            last.seconds,
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )


def make_training(
    contender: Contender, seed: int, common: Common, *, train: Trains = run_train
) -> Training:
    """The training of a contender from a seed; equal ones have equal hashes on any machine."""
    what = {
        "neck": contender.text,
        "words": [file.sha256 for file in common.words.files],
        "detector": common.detector.model_dump(mode="json"),
        "training": common.training.model_dump(mode="json", exclude={"loaders"}),
        "bank": common.bank,
        **({"proposals": common.proposals} if common.proposals else {}),
        "seed": seed,
    }
    return Training(
        TrainJob(
            folder=common.folder / f"{contender.neck}-{seed}",
            neck=contender.text,
            words=common.words,
            detector=common.detector,
            training=common.training,
            backbone=common.backbone,
            data=common.data,
            seed=seed,
            warmed=common.warmed,
        ),
        contender.neck,
        hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16],
        train,
    )


def training_event(training: Training, result: Trained, contender: Contender) -> Event:
    """The line of a training that has ended."""
    return {
        "event": "training",
        "of": training.of,
        "neck": training.neck,
        "trial": contender.trial,
        "role": contender.role,
        "text": contender.text,
        "seed": training.job.seed,
        "split": training.job.split,
        "steps": result.steps,
        "scores": result.scores,
        "seconds": result.seconds,
        "folder": f"{FOLDER}/{training.job.folder.name}",
        "detections": result.detections,
        "reason": result.reason,
    }


def trainings_on_record(history: History) -> dict[str, Event]:
    """The trainings that have ended, by what decides them."""
    return {event["of"]: event for event in history.events if event["event"] == "training"}


def training_folder(run: Path, event: Event) -> Path | None:
    """Where a training on record lies, also when another of its neck and seed put it aside.

    None where what lies there is another training. ``run`` is the folder of the run. Raises
    RunError where a name, or a link, leads out of it.
    """
    own = event["folder"]
    names = (f"{own}.before-{place}" for place in count(1))
    aside = takewhile(lambda name: inside(run, name).exists(), names)
    for name in (own, *aside):
        mark = inside(run, f"{name}.json")
        if not mark.is_file() and name == own:
            return inside(run, own)  # nobody has claimed it since
        if mark.is_file() and _marked(mark) == event["of"]:
            return inside(run, name)
    return None


def _marked(mark: Path) -> str | None:
    """The training that a mark names; None where it cannot be read."""
    try:
        return str(json.loads(bounded(mark))["of"])
    except (KeyError, TypeError, ValueError):
        return None


def _claim(folder: Path, of: str) -> None:
    """Put a folder of other settings, or of a run that has moved, aside: it is not gone on with."""
    mark = folder.with_name(f"{folder.name}.json")
    mine = {"of": of, "at": str(folder)}
    known = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
    if known != mine:
        if folder.exists():
            before = [one for one in folder.parent.glob(f"{folder.name}.before-*") if one.is_dir()]
            aside = folder.with_name(f"{folder.name}.before-{len(before) + 1}")
            if known is not None:  # with it, it is found again
                mark.rename(aside.with_name(f"{aside.name}.json"))
            folder.rename(aside)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = mark.with_suffix(".partial")  # whoever is killed here leaves no half of a mark
        partial.write_text(json.dumps(mine) + "\n", encoding="utf-8")
        partial.replace(mark)
