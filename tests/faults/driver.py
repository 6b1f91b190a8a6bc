"""A search by fakes as a process of its own: ``python -m tests.faults.driver '{…}'``.

It is there to be killed, and prints a line for each thing that the search says, once that is on
record: a time, what, and the trial.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from nas_fpn.record import Record
from nas_fpn.search import Evaluate, Halving, Loop, Progress, search_here
from tests.faults.faulty import Faulty
from tests.search.fakes import HEADER, Scripted, plan

PROPOSALS = [(0, 1 + i % 3, i // 3 % 3, i // 2 % 4) for i in range(40)]
Given = dict[str, Any]
Driven = Callable[[Loop, Evaluate, Given], Iterator[Progress]]


def here(loop: Loop, evaluate: Evaluate, given: Given) -> Iterator[Progress]:
    """In this process."""
    return search_here(loop, evaluate, seconds=given.get("seconds"))


def search(given: Given, driven: Driven) -> None:
    """Search as ``given`` says; see :class:`tests.faults.processes.Search`."""
    with Record(Path(given["history"])) as record:
        if record.history.torn is not None:
            said("torn", record.history.torn)
        halving = Halving((100, 200), eta=2, promotes=True) if given["halving"] else None
        facts = plan(trials=given["trials"], halving=halving)
        loop = Loop(record, Scripted(PROPOSALS), facts, header=HEADER)
        faults = {int(number): fault for number, fault in given["faults"].items()}
        tell(driven(loop, Faulty(Path(given["marks"]), faults, given["pause"]), given))


def tell(steps: Iterator[Any]) -> None:
    assert isinstance(steps, Generator)
    with closing(steps):
        for step in steps:
            entry = getattr(step, "entry", None)
            said(type(step).__name__, getattr(step, "text", "") if entry is None else entry.number)


def said(what: str, which: object) -> None:
    print(repr(time.time()), what, json.dumps(which), flush=True)


if __name__ == "__main__":
    said("started", os.getpid())
    search(json.loads(sys.argv[1]), here)
