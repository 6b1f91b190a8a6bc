"""The real training in the proxy, whose process dies once at a place of a trial."""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn
from torch.nn.utils import clip_grad_norm_

from nas_fpn.record import Report
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Due
from tests.faults.faulty import die, mark


@dataclass(frozen=True)
class Wounded:
    """``trainer``, which dies in each of ``places`` once, a trial by number each. Picklable.

    Places are "step" (after a backward pass), "evaluation" (before its scores) and "checkpoint"
    (its bytes are written, the file is not in its place yet).
    """

    trainer: Trainer
    marks: Path
    places: Mapping[int, str]

    def __call__(self, due: Due) -> Iterator[Report]:
        place = self.places.get(due.number)
        if place is not None and not (self.marks / f"fault-{due.number}").exists():
            wound(place, lambda: mark(self.marks, due.number) and die())
        yield from self.trainer(due)


def wound(place: str, act: Callable[[], Any]) -> None:
    """Have this process act at a place of its training, from now on."""

    def clip(*given: Any) -> Any:
        act()
        return clip_grad_norm_(*given)

    modules = {"step": "optimise", "evaluation": "train", "checkpoint": "checkpoint"}
    part: Any = importlib.import_module(f"nas_fpn.proxy.{modules[place]}")
    if place == "step":
        functions = {"utils": SimpleNamespace(clip_grad_norm_=clip)}
        part.nn = SimpleNamespace(**vars(nn) | functions)
    elif place == "evaluation":
        part.validate = lambda *_, **__: act()
    else:
        part.os = SimpleNamespace(getpid=os.getpid, fsync=lambda file: act())
