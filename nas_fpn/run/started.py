"""Ways to train trials, and what each has started before they are planned, to know its room."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Loop, Progress

__all__ = ["Drive", "Driver", "Room", "Started", "not_started", "started_by"]


@dataclass(frozen=True, slots=True)
class Room:
    """For how many trials there is room now, where each takes so many GPUs."""

    trials: int
    gpus_per_trial: float


Drive = Callable[[Run, Loop, Trainer], Iterator[Progress]]
# None: of room nobody was asked.
Started = Callable[[Run], AbstractContextManager[Room | None]]


@dataclass(frozen=True, slots=True)
class Driver:
    """A way to train trials, ``drive``, and what it has ``started`` before they are planned."""

    drive: Drive
    started: Started

    def __call__(self, run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
        """Train the trials."""
        return self.drive(run, loop, trainer)


@contextmanager
def not_started(run: Run) -> Iterator[Room | None]:
    """Nothing is started before it is needed."""
    yield None


def started_by(drive: Drive) -> Started:
    """What a way to train trials is to have started before they are planned."""
    return drive.started if isinstance(drive, Driver) else not_started
