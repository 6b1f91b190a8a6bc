"""A run that another process searches, read from its record as it grows: the same events again.

Nothing is locked and nothing is changed; a last line that is not whole yet is left for later.
"""

import sys
from collections.abc import Iterator, Mapping

from nas_fpn.record import Entry, History, add_trial, read_history
from nas_fpn.record import Event as Line
from nas_fpn.report import best_entry, proxy_checks
from nas_fpn.report.at_a_time import SAYING, workers_on_record
from nas_fpn.report.plan import time_is_over
from nas_fpn.run.clock import minutes_on_record
from nas_fpn.run.packed import Packed
from nas_fpn.run.search import Begun, Checked, Event
from nas_fpn.run.settings import Run, RunSettings
from nas_fpn.search import Asked, Over, Paused, Promoted, Reported, Told, budget_on_record, trained
from nas_fpn.search.plan import FREE

__all__ = ["follow", "is_over"]


def follow(run: Run) -> Iterator[Event | None]:
    """What a search puts on record, as it does; None where there is nothing new at the moment.

    Begins with all that is on record already. Ends when :func:`is_over`. The caller waits between
    two steps as long as it likes. Raises :class:`RunError` for a record that is malformed, or
    that became another run.
    """
    path = run.folder / "history.jsonl"
    reader = _Reader(run.settings)
    size = -1
    while True:
        now = path.stat().st_size if path.exists() else 0
        if now == size or now == 0:
            yield None
            continue
        size = now
        history = read_history(path)
        yield from reader.news(history)
        if is_over(history, run.settings):
            return
        yield None


def is_over(history: History, settings: RunSettings) -> bool:
    """Whether a record says that its search has ended, and that nothing more will be appended.

    No line says so by itself. It has ended when no trial is under way or paused and as many are
    trained as were asked for, or the last :data:`FREE` proposals in a row needed no training
    (the space has nothing new). After it comes the check on test: unless ``confirm.seeds`` is 0,
    or a neck or a baseline is missing, a "verdict" on the best of both must be there. Where time
    ended it the line "over" says so, after the check or in its place.
    """
    ended = _ended(history, settings)
    if ended is None or ended.late or not settings.confirm.seeds:
        return ended is not None
    objective, entries = settings.objectives[0], history.entries
    found = best_entry([one for one in entries if not one.is_baseline], objective)
    control = best_entry([one for one in entries if one.is_baseline], objective)
    if found is None or control is None:
        return True
    pairs = {(e["trial"], e["control"]) for e in proxy_checks(history.events)}
    return (found.number, control.number) in pairs


class _Reader:
    """Lines of a record in, events out: what came since the last time."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._entries: list[Entry] = []
        self._lines: tuple[Line, ...] = ()
        self._over = False

    def news(self, history: History) -> Iterator[Event]:
        """The events of what a record has gained."""
        begun = len(self._lines)
        if not begun or history.events[:1] != self._lines[:1] or len(history.events) < begun:
            self._entries = list(history.entries)
            new: tuple[Line, ...] = ()
            yield self._begin(history)
            if (workers := workers_on_record(history)) is not None:
                yield Packed(workers=workers)
        else:
            new = history.events[begun:]
        for line in new:
            yield from self._event(line, history)
        self._lines = history.events
        ended = _ended(history, self._settings)
        if ended is not None and not self._over:
            yield ended
        self._over = ended is not None

    def _begin(self, history: History) -> Begun:
        checks = proxy_checks(history.events)
        wanted = budget_on_record(history) or self._settings.budget.trials
        return Begun(wanted, len(self._settings.baselines), tuple(self._entries), (), checks)

    def _event(self, line: Line, history: History) -> Iterator[Event]:
        kind = line["event"]
        if kind in {"budget", "drift"}:  # a session went on with the run
            yield self._begin(history)
        elif kind in SAYING:
            yield Packed(workers=line["workers"])
        elif proxy_checks([line]):
            yield Checked(line)
        elif kind == "report" or kind in EVENTS:
            add_trial(line, self._entries)
            entry = self._entries[line["trial"]]
            if kind == "report":
                yield Reported(entry, entry.reports[-1])
            else:
                yield EVENTS[kind](entry)


EVENTS: Mapping[str, type[Asked] | type[Paused] | type[Promoted] | type[Told]] = {
    "ask": Asked,
    "pause": Paused,
    "promote": Promoted,
    "tell": Told,
}


def _ended(history: History, settings: RunSettings) -> Over | None:
    """How the search itself has ended, if it has."""
    entries = history.entries
    if any(entry.outcome is None for entry in entries):
        return None
    if time_is_over(history):
        return Over(trained(entries), exhausted=False, late=True)
    if sum(entry.is_baseline for entry in entries) < len(settings.baselines):
        return None
    done = trained(entries)
    wanted = budget_on_record(history) or settings.budget.trials
    if minutes_on_record(history) is not None and settings.most_trials is None:
        wanted = sys.maxsize
    exhausted = _free_in_a_row(history) >= FREE
    return Over(done, exhausted=done < wanted) if done >= wanted or exhausted else None


def _free_in_a_row(history: History) -> int:
    """How many proposals in a row needed no training, at the end of the record."""
    count = 0
    for line in history.events:
        kind = line["event"]
        if kind in {"pause", "drift"}:
            count = 0
        elif kind == "tell" and not (entry := history.entries[line["trial"]]).is_baseline:
            assert entry.outcome is not None
            count = count + 1 if entry.outcome.is_free else 0
    return count
