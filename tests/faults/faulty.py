"""A fake training that meets a fault on purpose; what has happened already it knows by marks."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas_fpn.record import Report
from nas_fpn.search import Due

STEPS = (100, 200, 300)
FREE = 4


@dataclass(frozen=True)
class Faulty:
    """A training that sleeps, with scores of the text alone; ``faults`` befall trials by number.

    At step 200: "kill" once, "kill always", "memory", "nan" and "hang". Picklable.
    """

    marks: Path
    faults: Mapping[int, str] = field(default_factory=dict)
    pause: float = 0.0

    def __call__(self, due: Due) -> Iterator[Report]:
        digits = [int(one) for one in due.text if one.isdigit()] or [1]
        final = (sum((i + 2) * digit for i, digit in enumerate(digits)) % 17) / 20
        for steps in STEPS:
            if steps <= due.begin:
                continue
            time.sleep(self.pause)
            score = final * steps / STEPS[-1]
            if steps == 200 and due.number in self.faults:
                score = self._meet(self.faults[due.number], due.number, score)
            yield Report(steps, {"ap": score, "ap50": final}, steps / 100)

    def _meet(self, fault: str, number: int, score: float) -> float:
        first = mark(self.marks, number)
        if fault == "kill always" or (fault == "kill" and first):
            die()
        if fault == "memory":
            bytearray(1 << 60)
        while fault == "hang":
            time.sleep(0.1)
        return float("nan") if fault == "nan" else score


@dataclass(frozen=True)
class Visiting:
    """A training that maps the ``file`` it is given, and leaves a mark of where it was. Picklable.

    A mark is a file in the marks: the trial, the process, its node's folder of copies, the file and
    the hash of its bytes. From trial ``FREE`` on it then waits until :func:`let_go`.
    """

    faulty: Faulty
    file: Path

    def __call__(self, due: Due) -> Iterator[Report]:
        pages = np.memmap(self.file, np.uint8, "r")
        visit = {
            "trial": due.number,
            "process": os.getpid(),
            "copies": os.environ["NAS_FPN_COPIES"],
            "file": str(self.file),
            "sha256": hashlib.sha256(pages).hexdigest(),
        }
        mark = self.faulty.marks / f"visit-{time.time()}-{due.number}"
        partial = mark.with_name(f"{mark.name}.partial")
        partial.write_text(json.dumps(visit))
        partial.rename(mark)
        while due.number >= FREE and not (self.faulty.marks / "go").exists():
            time.sleep(0.05)
        yield from self.faulty(due)
        del pages


def visits(marks: Path) -> list[dict[str, Any]]:
    """The marks of all trainings that have begun, the first first."""
    found = [one for one in marks.glob("visit-*") if one.suffix != ".partial"]
    return [json.loads(one.read_text()) for one in sorted(found)]


def let_go(marks: Path) -> None:
    """Have all trainings that wait go on."""
    (marks / "go").touch()


def die() -> None:
    """As ``kill -9`` does it, and the kernel that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def mark(folder: Path, number: int) -> bool:
    """Leave the moment at which a trial met its fault; whether it is the first time."""
    try:
        with (folder / f"fault-{number}").open("x") as file:
            file.write(repr(time.time()))
    except FileExistsError:
        return False
    return True
