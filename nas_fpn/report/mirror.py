"""The record of a run as an Optuna study, for dashboards: live while it is searched, or rebuilt.

The record stays the truth and nothing is read back: a mirror that is lost is made again, equal but
for its times. What a trial shows follows from its entry alone.
"""

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from optuna.storages import BaseStorage

from nas_fpn.record import Entry, History
from nas_fpn.report.at_a_time import workers_on_record
from nas_fpn.report.drawings import Drawings
from nas_fpn.report.notes import run_note, trial_note
from nas_fpn.report.opened import Opened, member
from nas_fpn.report.options import OUTSIDE, chosen, options
from nas_fpn.report.optuna_store import (
    Row,
    Study,
    TrialState,
    Value,
    delete_study,
    find_study,
    make_study,
    put,
    rows,
    set_study_note,
)

__all__ = ["Mirror", "fingerprint", "row_of"]

LONGEST = 1e9  # seconds, about thirty years: the calendar ends somewhere
# A rejected neck was never trained: it is none of the failures.
ENDED = {
    "complete": TrialState.COMPLETE,
    "repeated": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "rejected": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Mirror:
    """A run's study in a storage. Making one finds the study, or makes it.

    A study that is not of this record, or is ahead of it, is made anew. ``name`` is the study's.
    Raises what the storage raises.
    """

    def __init__(
        self, storage: BaseStorage, run: Opened, *, drawings: Drawings, name: str, written: datetime
    ) -> None:
        self._run = run
        self._drawings = drawings
        self._options = {} if run.space is None else options(run.space)
        self._note = ""
        found = find_study(storage, name)
        if found is not None and not _belongs(*found, run):
            delete_study(found[0])
            found = None
        self.study = found[0] if found is not None else self._make(storage, name)
        self._shown = dict(enumerate(rows(self.study)))
        times = _laid(run.history.entries, workers=_workers(run), until=written)
        for entry, (begun, ended) in zip(run.history.entries, times, strict=True):
            self._put(entry, begun, ended)
        self.say(run.history)

    def follow(self, entry: Entry) -> None:
        """Show what is on record of one trial by now; numbers come without a gap."""
        now = datetime.now()
        self._put(entry, now, now)

    def say(self, history: History) -> None:
        """Show the verdict so far."""
        note = run_note(self._run.name, history, self._run.objectives)
        if note != self._note:
            set_study_note(self.study, note)
            self._note = note

    def _make(self, storage: BaseStorage, name: str) -> Study:
        settings = self._run.settings
        facts = {key: str(settings[key]) for key in ("space", "controller") if key in settings}
        return make_study(
            storage,
            name,
            objectives=self._run.objectives,
            attributes={
                **facts,
                f"option {OUTSIDE}": "a baseline that is no member of the space",
                "record": fingerprint(self._run.history),
            },
        )

    def _put(self, entry: Entry, begun: datetime, ended: datetime) -> None:
        run, before = self._run, self._shown.get(entry.number)
        params, drawing = {}, None
        if before is None:
            drawing = self._drawings.keep(entry.text, run.words)
            if run.space is not None:
                genotype = member(entry, run.space).genotype
                params = chosen(run.space, self._options, genotype)
        row = row_of(
            entry,
            objectives=run.objectives,
            params=params,
            drawing=drawing,
            begun=begun,
            ended=ended,
        )
        self._shown[entry.number] = put(self.study, row, before=before, options=self._options)


def fingerprint(history: History) -> str:
    """What tells one record from another: a hash of its first line."""
    first = json.dumps(history.events[:1], sort_keys=True)
    return sha256(first.encode()).hexdigest()[:16]


def row_of(
    entry: Entry,
    *,
    objectives: tuple[str, ...],
    params: Mapping[str, str],
    drawing: str | None,
    begun: datetime,
    ended: datetime,
) -> Row:
    """The trial of a study that shows an entry; values are the objectives without their minus.

    A stopped trial has no value: its score is of fewer steps, and is among the reports.
    """
    names = [name.removeprefix("-") for name in objectives]
    outcome = entry.outcome
    state = TrialState.WAITING if entry.paused else TrialState.RUNNING
    values = None
    if outcome is not None:
        state = ENDED[outcome.state]
        if state is TrialState.COMPLETE:
            if all(name in outcome.scores for name in names):
                values = tuple(outcome.scores[name] for name in names)
            else:
                state = TrialState.FAIL
    return Row(
        number=entry.number,
        state=state,
        begun=begun,
        ended=ended,
        params=params,
        values=values,
        reports={
            one.steps: one.scores[names[0]] for one in entry.reports if names[0] in one.scores
        },
        attributes=dict(_attributes(entry)),
        note=trial_note(entry),
        drawing=drawing,
    )


def _attributes(entry: Entry) -> Iterator[tuple[str, Value]]:
    """The facts of a trial that a dashboard lists, the most telling first."""
    outcome = entry.outcome
    if entry.is_baseline:
        yield "baseline", entry.source.removeprefix("baseline:")
    yield "neck", entry.neck
    yield "source", entry.source
    yield "state", "paused" if entry.paused else "running" if outcome is None else outcome.state
    last = outcome or (entry.reports[-1] if entry.reports else None)
    if last is not None:
        yield "steps", last.steps
        yield "seconds", round(last.seconds, 3)
        yield from ((name, value) for name, value in last.scores.items() if "/" not in name)
    if outcome is not None and outcome.of is not None:
        yield "of trial", outcome.of
    if outcome is not None and outcome.reason is not None:
        yield "reason", outcome.reason
    yield from entry.cost.items()
    if entry.genotype is not None:
        yield "genotype", " ".join(map(str, entry.genotype))


def _belongs(study: Study, facts: Mapping[str, Any], run: Opened) -> bool:
    """Whether a study can go on as the mirror of this record."""
    entries = run.history.entries
    trials = rows(study)
    return (
        facts.get("record") == fingerprint(run.history)
        and len(trials) <= len(entries)
        and all(
            trial.attributes.get("neck") == entry.neck
            and (entry.outcome is not None or not trial.state.is_finished())
            for trial, entry in zip(trials, entries, strict=False)
        )
    )


def _workers(run: Opened) -> int:
    """How many trials ran at a time, as far as the record says."""
    return max(workers_on_record(run.history) or 1, 1)


def _laid(
    entries: Sequence[Entry], *, workers: int, until: datetime
) -> list[tuple[datetime, datetime]]:
    """When each trial began and ended, as far as seconds say: each on the first free worker.

    The record has durations, not hours; the last trial ends at ``until``.
    """
    free = [0.0] * workers
    laid = []
    for entry in entries:
        last = entry.outcome or (entry.reports[-1] if entry.reports else None)
        seconds = 0.0 if last is None else last.seconds
        begun = heapq.heappop(free)
        heapq.heappush(free, begun + seconds)
        laid.append((begun, begun + seconds))
    end = max((ended for _, ended in laid), default=0.0)
    return [(_before(until, end - begun), _before(until, end - ended)) for begun, ended in laid]


def _before(until: datetime, seconds: float) -> datetime:
    return until - timedelta(seconds=min(max(seconds, 0.0), LONGEST))
