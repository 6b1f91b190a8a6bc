"""A search as a process that is killed for real, and what its record says afterwards."""

import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas_fpn.record import History, read_history
from nas_fpn.search import trained

ROOT = Path(__file__).parents[2]
PATIENCE = 600.0  # seconds to wait for what must come; a loaded machine is slow
ENDED = re.compile(r"\[\d+/\d+\] trial .*: (complete|stopped|failed)")
MAY_DIFFER = ("seconds", "machine", "packages")  # between equal runs


@dataclass(frozen=True)
class Line:
    """What a search said, and when; ``which`` is the trial, or a text."""

    at: float
    what: str
    which: Any


class Search:
    """A driver that runs; its lines are read as they come. Closing kills all that it started."""

    def __init__(
        self, command: Sequence[str], *, variables: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self.began = time.time()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ray's reaper kills the group of the driver
            **options,
        )
        self.lines: list[Line] = []
        self.errors = ""
        self._coming: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        reads = (self._read, self._read_errors)
        self._threads = [threading.Thread(target=read, daemon=True) for read in reads]
        for thread in self._threads:
            thread.start()

    def until(self, what: Callable[[Line], bool], *, patience: float = PATIENCE) -> Line | None:
        """The next line that is asked for, or None when the process ends before."""
        end = time.monotonic() + patience
        while (line := self._coming.get(timeout=max(end - time.monotonic(), 0.0))) is not None:
            self.lines.append(line)
            if what(line):
                return line
        return None

    def some(self, chance: random.Random, lines: int, seconds: float) -> None:
        """Wait until it has said so many things at most, then so long at most, by chance."""
        for _ in range(chance.randrange(lines)):
            if self.until(lambda line: line.what != "started") is None:
                return
        time.sleep(chance.uniform(0.0, seconds))

    def kill(self) -> int:
        """``kill -9`` of the driver, and of nothing else; its exit code, 0 if it was over."""
        self.process.kill()
        code = self.process.wait()
        try:
            self.until(lambda line: False, patience=30.0)
        except queue.Empty:  # a worker that has not noticed yet holds its stdout
            return code
        return code

    def end(self) -> int:
        """Wait for its end; the exit code."""
        self.until(lambda line: False)
        code = self.process.wait(PATIENCE)
        self._threads[1].join(1.0)  # what it started may hold its stderr for longer
        return code

    def told(self) -> list[Line]:
        """The ends of trials, as a driver of ours or the command line says them."""
        return [
            line
            for line in self.lines
            if line.what == "Told" or (line.what == "printed" and ENDED.match(line.which))
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        _kill_group(self.process.pid)
        for thread in self._threads:
            thread.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for row in self.process.stdout:
            at, _, rest = row.partition(" ")
            what, _, which = rest.strip().partition(" ")
            if at.replace(".", "").isdecimal() and which:
                self._coming.put(Line(float(at), what, json.loads(which)))
            else:
                self._coming.put(Line(time.time(), "printed", row.rstrip()))
        self._coming.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for row in self.process.stderr:
            self.errors += row


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:  # nobody is left
        return


def fake(folder: Path, *, workers: int = 0, trials: int = 12, **given: Any) -> list[str]:
    """The command of a search by fakes in ``folder``."""
    marks = folder / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    asked = {"history": str(folder / "history.jsonl"), "marks": str(marks), "halving": workers < 2}
    asked |= {"workers": workers, "trials": trials, "pause": 0.0, "faults": {}, **given}
    module = "real_driver" if "run" in given else "ray_driver" if workers else "driver"
    return [sys.executable, "-m", f"tests.faults.{module}", json.dumps(asked)]


def cli(folder: Path) -> list[str]:
    """The command of a search as a person gives it."""
    program = "from nas_fpn.cli import main; main()"
    return [sys.executable, "-c", program, "search", str(folder)]


def undisturbed(folder: Path, command: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of a search that nothing happens to."""
    with Search(command) as search:
        assert search.end() == 0, search.errors
    return steady(folder / "history.jsonl")


def steady(history: Path) -> list[dict[str, Any]]:
    """A record without what may differ between equal runs; every line of it is whole."""
    rows = [json.loads(row) for row in history.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in MAY_DIFFER} for row in rows]


@dataclass
class Tally:
    """What a kind of fault did: how often it was tried, and what became of trials and time.

    ``lost``: trials that a search had said to be asked or told and the record does not know so,
    or that have no end at the end; and records that differ from the undisturbed one. ``doubled``:
    asked, told or reported at the same step twice, or trained beyond the budget. ``seconds``: from
    the fault (where the driver died, from its new start) to the next tell.
    """

    times: int = 0
    lost: int = 0
    doubled: int = 0
    seconds: list[float] = field(default_factory=list)

    def look(self, history: Path, lines: Sequence[Line], *, trials: int | None = None) -> History:
        """Hold a record against what was said; where ``trials`` were wanted it must be over."""
        record = read_history(history)
        for what, event in (("Asked", "ask"), ("Told", "tell")):
            known = {row["trial"] for row in record.events if row["event"] == event}
            self.lost += len({line.which for line in lines if line.what == what} - known)
        events = Counter(
            (row["event"], row["trial"], row.get("steps") if row["event"] != "tell" else None)
            for row in record.events
            if "trial" in row and row["event"] != "verdict"
        )
        self.doubled += sum(count > 1 for count in events.values())
        if trials is not None:
            self.lost += sum(entry.outcome is None for entry in record.entries)
            self.lost += max(0, trials - trained(record.entries))
            self.doubled += max(0, trained(record.entries) - trials)
        return record

    def same(self, history: Path, expected: list[dict[str, Any]]) -> None:
        """Hold a record against the undisturbed one, line for line."""
        self.lost += steady(history) != expected

    def recovered(self, search: Search, *, since: float | None = None) -> None:
        """Take the time to the first tell after a moment, else after the search's start."""
        since = search.began if since is None else since
        times = [line.at - since for line in search.told() if line.at > since]
        self.seconds += times[:1]
