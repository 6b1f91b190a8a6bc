"""The facts of a run: trials, reports and outcomes, and ``history.jsonl``, where they are kept.

One JSON object a line, appended and on disk before anyone acts on it. The first line names the
version. Readers keep fields and events that they do not know.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, get_args

from nas_fpn.errors import RunError
from nas_fpn.lock import Lock
from nas_fpn.strange import check_facts, check_name, decoded

__all__ = [
    "CLOCKED",
    "VERSION",
    "Entry",
    "Event",
    "Genotype",
    "History",
    "Outcome",
    "Record",
    "Report",
    "Scores",
    "State",
    "Trial",
    "add_trial",
    "ask_event",
    "pause_event",
    "promote_event",
    "read_history",
    "report_event",
    "tell_event",
]

VERSION = 1

# Scores that a clock, or the memory that was free, took part in: they may differ between equal
# runs, as seconds do.
CLOCKED = frozenset({"latency_ms", "latency_head_ms", "memory_mb", "constrained", "replayed"})

Event = Mapping[str, Any]
Genotype = tuple[int, ...]
Scores = Mapping[str, float]
State = Literal["complete", "stopped", "failed", "rejected", "repeated"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One proposal: its number in the run and an index per choice of the space."""

    number: int
    genotype: Genotype


@dataclass(frozen=True, slots=True)
class Report:
    """Scores measured after ``steps`` training steps; ``seconds`` since the trial began."""

    steps: int
    scores: Scores
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended.

    Only ``complete`` at the full budget compares with ``complete``; ``stopped`` compares at
    equal ``steps``; ``failed`` and ``rejected`` carry no scores and say the ``reason``;
    ``repeated`` carries the scores of the trial ``of`` whose canonical neck was the same, and so
    does a ``stopped`` that names one: that neck is known at those steps only.
    """

    state: State
    scores: Scores = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    reason: str | None = None
    of: int | None = None

    @property
    def is_free(self) -> bool:
        """Whether the trial was answered without training."""
        return self.state in {"repeated", "rejected"} or self.of is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is on record of one trial; ``outcome`` is None while it is under way or paused.

    ``pauses`` are the steps at which it was paused so far, ``paused`` whether it is now.
    ``source`` is "controller", "prior:NAME" (which the controller asked for because somebody trusts
    it) or "baseline:NAME"; ``genotype`` is None for a neck that is no
    member of the space; ``neck`` is the canonical id and ``text`` the program.
    """

    number: int
    source: str
    genotype: Genotype | None
    neck: str
    text: str
    cost: Mapping[str, float]
    reports: tuple[Report, ...] = ()
    outcome: Outcome | None = None
    pauses: tuple[int, ...] = ()
    paused: bool = False

    @property
    def is_baseline(self) -> bool:
        """Whether it is a control, which no controller proposed."""
        return self.source.startswith("baseline:")


@dataclass(frozen=True, slots=True)
class History:
    """A record as read: every event as it stands, and the trials by number.

    ``torn`` says where a last line is incomplete, as a killed writer leaves it; else None.
    """

    events: tuple[Event, ...] = ()
    entries: tuple[Entry, ...] = ()
    torn: str | None = None

    @property
    def header(self) -> Event:
        """The facts of the run: its first line, or the last that went on from a drift."""
        drifts = [event["header"] for event in self.events if event["event"] == "drift"]
        return drifts[-1] if drifts else self.events[0] if self.events else {}


def ask_event(entry: Entry) -> Event:
    """The line that says that a trial is about to run."""
    return {
        "event": "ask",
        "trial": entry.number,
        "source": entry.source,
        "genotype": None if entry.genotype is None else list(entry.genotype),
        "neck": entry.neck,
        "text": entry.text,
        "cost": dict(entry.cost),
    }


def report_event(number: int, report: Report) -> Event:
    """The line of one report of trial ``number``."""
    return {
        "event": "report",
        "trial": number,
        "steps": report.steps,
        "scores": dict(report.scores),
        "seconds": report.seconds,
    }


def pause_event(number: int, steps: int) -> Event:
    """The line that says that trial ``number`` waits at a rung, after ``steps``."""
    return {"event": "pause", "trial": number, "steps": steps}


def promote_event(number: int, steps: int) -> Event:
    """The line that says that trial ``number`` goes on from where it waits, after ``steps``."""
    return {"event": "promote", "trial": number, "steps": steps}


def tell_event(number: int, outcome: Outcome) -> Event:
    """The line that ends trial ``number``."""
    return {
        "event": "tell",
        "trial": number,
        "state": outcome.state,
        "of": outcome.of,
        "steps": outcome.steps,
        "scores": dict(outcome.scores),
        "seconds": outcome.seconds,
        "reason": outcome.reason,
    }


def read_history(path: Path) -> History:
    """Read a ``history.jsonl``; one that does not exist is empty.

    Changes nothing on disk. Raises :class:`RunError` with file and line for whatever is
    malformed, save an incomplete last line, which ``torn`` reports.
    """
    return _parse(path, path.read_bytes())[0] if path.exists() else History()


class Record:
    """A ``history.jsonl`` open for writing; ``history`` is what it held when it was opened.

    Opening takes the lock beside it, ``history.lock``, unless the caller's ``lock`` is given: a
    second driver is refused with :class:`RunError`, and a dead one leaves nothing stale. A torn
    last line is cut off, and ``history.torn`` says so. A line is with the system when
    :meth:`append` returns, and on disk, with all before it, unless it is a report: those can be
    measured again.
    """

    def __init__(self, path: Path, *, lock: Lock | None = None) -> None:
        self.path = path
        self._lock = Lock(path.with_suffix(".lock")) if lock is None else None
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError:
            self._give_back()
            raise
        try:
            self.history, whole = _parse(path, path.read_bytes())
            self._file.truncate(whole)
            if whole and not path.read_bytes().endswith(b"\n"):
                self._write(b"\n", to_disk=True)
        except (RunError, OSError):
            self.close()
            raise

    def append(self, event: Event) -> None:
        """Add one line. Raises ValueError for NaN, and OSError, with the path, for a full disk.

        A line that could not be written whole is taken back, so that the record stays valid.
        """
        line = json.dumps(event, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        self._write(line, to_disk=event["event"] != "report")

    def close(self) -> None:
        """Give the run back. Closing twice does nothing."""
        self._file.close()
        self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, line: bytes, *, to_disk: bool) -> None:
        before = os.fstat(self._file.fileno()).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) or 0 :]
            if to_disk:
                os.fsync(self._file.fileno())
        except OSError as fault:
            self._file.truncate(before)
            raise OSError(fault.errno, fault.strerror, str(self.path)) from None

    def _give_back(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _parse(path: Path, data: bytes) -> tuple[History, int]:
    """The history and the number of bytes of its whole lines."""
    events: list[Event] = []
    entries: list[Entry] = []
    rows = data.split(b"\n")
    last = rows.pop()
    for number, row in enumerate(rows, start=1):
        _add(_decode(row, f"{path}:{number}"), events, entries, f"{path}:{number}")
    place = f"{path}:{len(rows) + 1}"
    if not last.strip():
        return History(tuple(events), tuple(entries)), len(data) - len(last)
    try:
        event = _decode(last, place)
    except RunError:  # a writer was killed half-way: what was not whole was not acted upon
        torn = f"{place}: the last line was incomplete and is left out: {_shown(last)}"
        return History(tuple(events), tuple(entries), torn), len(data) - len(last)
    _add(event, events, entries, place)
    return History(tuple(events), tuple(entries)), len(data)


def _decode(row: bytes, place: str) -> Event:
    try:
        event = decoded(row)
    except ValueError as error:
        _fail(place, f"{error}: {_shown(row)}")
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        _fail(place, f'a line must be an object with an "event", but got {_shown(row)}')
    return event


def _add(event: Event, events: list[Event], entries: list[Entry], place: str) -> None:
    kind = event["event"]
    if not events:
        version = event.get("version")
        if kind != "run" or not isinstance(version, int):
            _fail(place, f'the first line must be the event "run" with its version, not {kind!r}')
        if version > VERSION:
            _fail(place, f"version {version} is newer than this nas_fpn reads ({VERSION})")
    elif kind == "run":
        _fail(place, 'a second event "run"')
    try:
        if kind in {"ask", "report", "pause", "promote", "tell"}:
            add_trial(event, entries)
        else:
            check_facts(event, len(entries))
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        _fail(place, f"{kind}: {what}")
    events.append(event)


def add_trial(event: Event, entries: list[Entry]) -> None:
    """Take an event of a trial into ``entries``, which are by number.

    Raises KeyError, TypeError or ValueError for one that is malformed or does not follow.
    """
    number = _whole(event["trial"], "trial")
    if event["event"] == "ask":
        if number != len(entries):
            raise ValueError(f"trial must be {len(entries)}, the next one, but got {number}")
        genotype = event["genotype"]
        if genotype is not None:
            genotype = tuple(_whole(index, "genotype") for index in genotype)
        neck = check_name(event["neck"], "neck")  # it becomes the name of a folder
        texts = (str(event["source"]), genotype, neck, str(event["text"]))
        entries.append(Entry(number, *texts, _numbers(event["cost"], "cost")))
        return
    if not 0 <= number < len(entries):
        raise ValueError(f"trial {number} was never asked")
    entry = entries[number]
    if entry.outcome is not None:
        raise ValueError(f"trial {number} has already ended")
    if event["event"] in {"pause", "promote"}:
        entries[number] = _moved(entry, event["event"], _whole(event["steps"], "steps"))
        return
    scores = _numbers(event["scores"], "scores")
    seconds = _numbers({"seconds": event["seconds"]}, "the number")["seconds"]
    steps = _whole(event["steps"], "steps")
    if event["event"] == "report":
        reports = (*entry.reports, Report(steps, scores, seconds))
        entries[number] = replace(entry, reports=reports)
        return
    state, of = event["state"], event["of"]
    if state not in get_args(State):
        raise ValueError(f"state must be one of {', '.join(get_args(State))}, but got {state!r}")
    if of is not None and not 0 <= _whole(of, "of") < number:
        raise ValueError(f"of must name an earlier trial, but got {of}")
    reason = None if event["reason"] is None else str(event["reason"])
    outcome = Outcome(state, scores, steps, seconds, reason, of)
    entries[number] = replace(entry, outcome=outcome, paused=False)


def _moved(entry: Entry, kind: str, steps: int) -> Entry:
    """An entry after the event "pause" or "promote" at ``steps``."""
    if kind == "pause":
        if entry.paused:
            raise ValueError(f"trial {entry.number} is paused already")
        if steps not in {report.steps for report in entry.reports}:
            raise ValueError(f"trial {entry.number} has no report at step {steps}")
        return replace(entry, pauses=(*entry.pauses, steps), paused=True)
    if not entry.paused or entry.pauses[-1] != steps:
        raise ValueError(f"trial {entry.number} is not paused at step {steps}")
    return replace(entry, paused=False)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, but got {value!r}")
    return value


def _numbers(value: object, name: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be an object of numbers, but got {value!r}")
    for key, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{name} {key!r} must be a number, but got {number!r}")
        if not math.isfinite(number):
            raise ValueError(f"{name} {key!r} must be finite, but got {number!r}")
    return value


def _shown(row: bytes) -> str:
    text = row.decode(errors="replace")
    return text if len(text) <= 60 else f"{text[:60]}…"


def _fail(place: str, what: str) -> NoReturn:
    raise RunError(f"{place}: {what}\nput the line back from a copy, or cut the file before it")
