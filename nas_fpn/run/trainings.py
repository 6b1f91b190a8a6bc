"""Trainings end to end of a contest: from a contender and a seed to a line of the record.

Each has a folder of its own, ``confirm/NECK-SEED`` in the run's, in which it goes on after a stop.
"""

import hashlib
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from nas_fpn.record import Event, History, Report
from nas_fpn.run.contest import Contender
from nas_fpn.run.prepare import Step
from nas_fpn.run.train import TrainJob, run_train

__all__ = ["FOLDER", "Trained", "Training", "training_event", "trainings_on_record"]

FOLDER = "confirm"  # of a run


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left: scores on test and the hash of its detections, or why it has none."""

    scores: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    detections: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """Train a contender end to end; ``of`` is the hash of all that decides the result."""

    job: TrainJob
    neck: str
    of: str

    def __call__(self) -> Generator[float, None, Trained]:
        """Yield the part done at each report. A training that diverged says so in its result."""
        folder = self.job.folder
        _claim(folder, self.of)
        last = Report(0, {})
        try:
            for event in run_train(self.job):
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


def _claim(folder: Path, of: str) -> None:
    """Put a folder of other settings, or of a run that has moved, aside: it is not gone on with."""
    mark = folder.with_name(f"{folder.name}.json")
    mine = {"of": of, "at": str(folder)}
    known = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
    if known != mine:
        if folder.exists():
            before = [*folder.parent.glob(f"{folder.name}.before-*")]
            folder.rename(folder.with_name(f"{folder.name}.before-{len(before) + 1}"))
        folder.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps(mine) + "\n", encoding="utf-8")
