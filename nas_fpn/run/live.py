"""The record shown elsewhere while it is written: ``[report]`` of ``run.toml``.

A thread of its own follows the search, so that a slow database does not hold it up; what goes wrong
there is said once, and the search goes on. All can be made again from the record.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from nas_fpn.errors import command_line
from nas_fpn.record import Entry, Event, History, read_history
from nas_fpn.report.mirrors import mirror_of
from nas_fpn.report.opened import open_run
from nas_fpn.report.tensorboard import Curves, curves_of
from nas_fpn.run.settings import Run
from nas_fpn.search import Asked, Noted, Paused, Promoted, Reported, Told

__all__ = ["View", "followed", "views"]

MIRROR = "the mirror"

Said = TypeVar("Said")  # whatever a search says

PATIENCE = 60.0  # seconds that a search that is over waits for what shows it
HURRY = 5.0  # seconds that an interrupted one does
REST = 9  # times as long as the last look at the whole record took, till the next


class View(Protocol):
    """Something that shows a run: a mirror, logs."""

    def follow(self, entry: Entry) -> None:
        """What is on record of one trial by now."""

    def say(self, history: History) -> None:
        """The record as a whole."""


def views(run: Run) -> dict[str, Callable[[], View]]:
    """What is to show a run, by name, ready to be opened once its record has begun."""
    wanted: dict[str, Callable[[], View]] = {}
    report, folder = run.settings.report, run.folder
    if report.mirror:
        wanted[MIRROR] = lambda: mirror_of(folder, storage=report.storage, trust=True)
    if report.tensorboard:
        wanted["the log for TensorBoard"] = lambda: Curves(
            curves_of(folder), open_run(folder, trust=True)
        )
    return wanted


def followed(
    record: Path,
    steps: Iterator[Said],
    wanted: Mapping[str, Callable[[], View]],
    *,
    patience: Callable[[], float] = lambda: PATIENCE,
) -> Iterator[Said | Noted]:
    """The steps of a search as they come, shown on their way; what fails there is noted.

    ``record`` has begun. ``patience()`` is how many seconds it waits at the end, a moment at least.
    Closed early, it waits a moment only: what is not shown then comes with the next session.
    """
    if not wanted:
        yield from steps
        return
    follower = _Follower(record, wanted)
    try:
        for step in steps:
            yield step
            if isinstance(step, Asked | Reported | Paused | Promoted | Told):
                follower.put(step.entry)
            yield from follower.noted()
        most = min(max(patience(), HURRY), PATIENCE)
        if not follower.end(most):
            again = f"; {command_line('mirror', record.parent)} makes it anew"
            said = f"{' and '.join(wanted)}: not done after {most:.0f} s; left behind"
            yield Noted(said + (again if MIRROR in wanted else ""))
        yield from follower.noted()
    finally:
        follower.end(HURRY)


class _Follower:
    """The thread, and what it is given and says."""

    def __init__(self, record: Path, wanted: Mapping[str, Callable[[], View]]) -> None:
        self._record = record
        self._given: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(wanted,), daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Something has come of a trial."""
        self._given.put(entry)

    def end(self, seconds: float) -> bool:
        """Nothing more comes; whether the thread is done within some seconds."""
        self._given.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def noted(self) -> Iterator[Noted]:
        """What went wrong since the last call."""
        while not self._said.empty():
            yield Noted(self._said.get())

    def _run(self, wanted: Mapping[str, Callable[[], View]]) -> None:
        """Open what is wanted, then show what comes until nothing more does, the whole at last."""
        there: dict[str, View] = {}
        for name, opened in wanted.items():
            try:
                there[name] = opened()
            except Exception as fault:
                self._lost(name, fault)
        events, entries = self._read()
        looked, took = -math.inf, 0.0
        while there:
            came, over = self._taken()
            if over:
                events, entries = self._read()
                came = list(entries.values())
            entries |= {entry.number: entry for entry in came}
            whole = over or time.monotonic() - looked >= REST * took
            history = History(events, tuple(entries.values())) if whole else None
            began = time.monotonic()
            for name in tuple(there):
                try:
                    for entry in came:
                        there[name].follow(entry)
                    if history is not None:
                        there[name].say(history)
                except Exception as fault:  # the search is worth more than any view of it
                    self._lost(name, fault)
                    del there[name]
            if whole:
                looked = time.monotonic()
                took = looked - began
            if over:
                return

    def _read(self) -> tuple[tuple[Event, ...], dict[int, Entry]]:
        history = read_history(self._record)
        return history.events, {entry.number: entry for entry in history.entries}

    def _taken(self) -> tuple[list[Entry], bool]:
        """The last of each trial that came, waiting for one; and whether nothing more comes."""
        came: dict[int, Entry] = {}
        while not came or not self._given.empty():
            entry = self._given.get()
            if entry is None:
                return [], True
            came[entry.number] = entry
        return list(came.values()), False

    def _lost(self, name: str, fault: Exception) -> None:
        what = " ".join(str(fault).split())[:200]
        self._said.put(
            f"{name} is given up, the search goes on: {type(fault).__name__}: {what}\n"
            "it can be made again from the record, with nas-fpn mirror or by the next search"
        )
