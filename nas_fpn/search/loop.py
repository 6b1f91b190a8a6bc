"""The one loop that both runners drive: which trial is next, and what becomes of each.

It knows trials, numbers and the record; who trains, where and how many at a time is the runner's.
Whatever it decides follows from the record, so that a killed search resumes as if nothing had been.
"""

from collections import deque
from dataclasses import replace

from nas_fpn.record import (
    Entry,
    Event,
    Outcome,
    Record,
    Report,
    Trial,
    ask_event,
    pause_event,
    promote_event,
    report_event,
    tell_event,
)
from nas_fpn.search.controller import Controller, told
from nas_fpn.search.halving import Rungs
from nas_fpn.search.header import begin
from nas_fpn.search.in_time import cut_short, has_room, has_room_for_new, timed
from nas_fpn.search.memory import MemoryRecord
from nas_fpn.search.outcomes import (
    any_found,
    as_stopped,
    beyond,
    check_proposal,
    check_repeated,
    check_report,
    due,
    failed,
    fault,
    first_objective,
    passed_by,
    repeated,
    report_at,
    stopped,
)
from nas_fpn.search.plan import Baseline, Due, Plan
from nas_fpn.search.progress import Asked, Over, Paused, Progress, Promoted, Reported, Told

__all__ = ["Loop"]

MOST_WAITING = 64  # proposals equal to a neck in training; more, and the controller has to wait


class Loop:
    """A search between its steps. Making one begins the record, or replays what it holds.

    ``header`` are the facts of the run for the first line of a new record; a resumed search must
    bring the same (see :func:`nas_fpn.search.header.begin`). Raises :class:`RunError` when they
    differ, or when the controller proposes other than what is on record.
    """

    def __init__(
        self, record: Record | MemoryRecord, controller: Controller, plan: Plan, *, header: Event
    ) -> None:
        self._record = record
        self._controller = controller
        self._plan = plan
        self.clock = plan.clock  # what bounds the time of the search; None: nothing
        self._entries: list[Entry] = []
        self._controls: set[str] = set()  # the baselines that were asked, by source
        self._own: dict[int, Trial] = {}  # the controller's trial, by number in the run
        self._trained = 0
        self._free = 0  # proposals in a row that did not need training
        self._scored: dict[str, int] = {}  # the first complete trial, by canonical id
        self._rungs = None if plan.halving is None else Rungs(plan.halving)
        self._paused: set[int] = set()
        self._shelved: dict[str, int] = {}  # paused, or stopped after a pause, by canonical id
        self._ready: deque[int] = deque()
        self._leaders: dict[str, int] = {}  # in training or ready, by canonical id
        self._waiting: dict[str, deque[int]] = {}  # equal to a leader
        self._reached: dict[int, Report] = {}  # the last report of this attempt
        self._progress: list[Progress] = []
        self._late = False  # nothing more is asked, for lack of time
        accepted = begin(record, header, trials=plan.trials, accept_drift=plan.accept_drift)
        self._replay(accepted)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every trial on record, by number."""
        return tuple(self._entries)

    @property
    def over(self) -> bool:
        """Whether nothing is under way or paused and nothing more will be asked."""
        return not self._leaders and not self._paused and not self._more()

    def next(self) -> Due | None:
        """The next neck to train; None while there is none, for good if :attr:`over`.

        What was under way goes first, then the baselines, then who may be promoted, then a new
        proposal (Algorithm 2 of the paper that :mod:`nas_fpn.search.halving` follows). A paused
        trial is told as stopped once it can never be promoted, at the latest when all is done; if
        until then none was trained in full, as where trials are few, the best of them still is.
        With a clock whoever cannot end in time is not begun, and a trial that waits is cut.
        """
        while True:
            if (number := self._hopeless()) is not None:
                self._end(number, stopped(self._entries[number]))
            elif self._ready:
                ready = due(self._plan, self._entries[self._ready.popleft()])
                if has_room(self._plan, ready):
                    return ready
                self.cut(ready.number)
            elif self._missing() is None and (number := self._promotable()) is not None:
                self._promote(number)
            elif not self._more() or self._is_late():
                if self._leaders or not self._paused:
                    return None
                self._settle_paused()
            elif sum(map(len, self._waiting.values())) >= MOST_WAITING:
                return None
            else:
                self._ask()

    def report(self, number: int, report: Report) -> bool:
        """Put a report of trial ``number`` on record; False: stop training, it ended or is paused.

        One that is on record already, from before a crash, is not written again, and must be equal
        where trainings repeat: :class:`RunError` if it is not.
        """
        entry = self._entries[number]
        if entry.outcome is not None or entry.paused:
            return False
        if (reason := fault(self._plan, entry, report)) is not None:
            self._end(number, failed(self._reached.get(number), reason))
            return False
        before = next((r for r in entry.reports if r.steps == report.steps), None)
        if before is None:
            self._record.append(report_event(number, report))
            entry = replace(entry, reports=(*entry.reports, report))
            self._entries[number] = entry
            if not self._pauses():
                self._climb(number, report)
        elif self._plan.repeats and not self._plan.accept_drift:
            check_report(self._record.path, number, before, report)
        self._reached[number] = before or report
        self._progress.append(Reported(entry, report))
        if report.steps == due(self._plan, entry).pause:
            self._pause(number, before or report)
            return False
        if self._is_cut(number, report):
            self._end(number, Outcome("stopped", report.scores, report.steps, report.seconds))
            return False
        return True

    def finish(self, number: int, *, failure: str | None = None) -> None:
        """End trial ``number``: complete at its last report, or failed with the reason."""
        if self._entries[number].outcome is not None or self._entries[number].paused:
            return
        failure = failure or passed_by(self._plan, self._entries[number])
        last = self._reached.get(number)
        if failure is None and last is not None:
            self._end(number, Outcome("complete", last.scores, last.steps, last.seconds))
        else:
            reason = failure or "the training gave no report"
            self._end(number, failed(self._reached.get(number), reason))

    def reject(self, number: int, reason: str) -> None:
        """Trial ``number`` takes more than is allowed, as was measured: it counts for nothing."""
        if self._entries[number].outcome is None and not self._entries[number].paused:
            self._end(number, Outcome("rejected", reason=reason))

    def cut(self, number: int) -> None:
        """End trial ``number`` because the time of the search is over: stopped where it is."""
        if self._entries[number].outcome is None and not self._entries[number].paused:
            self._late = True
            self._end(number, cut_short(self._entries[number]))

    def drain(self) -> list[Progress]:
        """What has happened since the last call, in order."""
        progress, self._progress = self._progress, []
        return progress

    def ending(self) -> Over:
        """How the search ended; for runners, when :attr:`over`."""
        short = self._trained < self._plan.most
        return Over(self._trained, exhausted=short and not self._late, late=short and self._late)

    def _more(self) -> bool:
        """Whether something may still be asked."""
        if self._ready:
            return True
        if self._late or self._missing() is not None:
            return not self._late
        ahead = sum(
            not self._entries[number].is_baseline
            for number in (*self._leaders.values(), *(n for q in self._waiting.values() for n in q))
        )
        ahead += len(self._paused)
        return self._trained + ahead < self._plan.most and self._free < self._plan.free

    def _missing(self) -> Baseline | None:
        there = (b for b in self._plan.baselines if f"baseline:{b.name}" not in self._controls)
        return next(there, None)

    def _ask(self) -> None:
        number = len(self._entries)
        baseline = self._missing()
        if baseline is not None:
            facts = baseline.facts
            source, genotype = f"baseline:{baseline.name}", baseline.genotype
        else:
            trial = self._proposal()
            self._own[number] = trial
            facts = self._plan.facts(trial.genotype)
            names = self._plan.prior
            source = f"prior:{names[trial.number]}" if trial.number < len(names) else "controller"
            genotype = trial.genotype
        entry = Entry(number, source, genotype, facts.neck, facts.text, facts.cost)
        self._record.append(ask_event(entry))
        self._enlist(entry)
        self._progress.append(Asked(entry))
        self._settle(number)

    def _enlist(self, entry: Entry) -> None:
        self._entries.append(entry)
        if entry.is_baseline:
            self._controls.add(entry.source)

    def _proposal(self) -> Trial:
        trial = self._controller.ask()
        check_proposal(self._plan, trial, len(self._own))
        return trial

    def _settle(self, number: int) -> None:
        """Answer a trial without training, or line it up."""
        entry = self._entries[number]
        too_much = beyond(self._plan, entry)
        if entry.neck in self._scored:
            self._end(number, repeated(self._entries[self._scored[entry.neck]]))
        elif too_much and not entry.is_baseline:
            self._end(number, Outcome("rejected", reason=", ".join(too_much)))
        elif entry.neck in self._shelved and not entry.is_baseline:
            self._end(number, as_stopped(self._entries[self._shelved[entry.neck]]))
        elif entry.neck in self._leaders:
            self._waiting.setdefault(entry.neck, deque()).append(number)
        else:
            self._lead(number)

    def _lead(self, number: int) -> None:
        self._leaders[self._entries[number].neck] = number
        self._ready.append(number)

    def _end(self, number: int, outcome: Outcome) -> None:
        self._record.append(timed(self._plan, tell_event(number, outcome)))
        self._close(number, outcome)
        self._progress.append(Told(self._entries[number]))
        self._leave(number)

    def _leave(self, number: int) -> None:
        """A trial is no more in training, if it was: answer those that waited for it."""
        neck = self._entries[number].neck
        if self._leaders.get(neck) != number:
            return
        del self._leaders[neck]
        followers = self._waiting.pop(neck, deque())
        while followers and neck in self._scored:
            self._end(followers.popleft(), repeated(self._entries[self._scored[neck]]))
        while followers and neck in self._shelved:
            self._end(followers.popleft(), as_stopped(self._entries[self._shelved[neck]]))
        if followers:  # the leader gave no score: the next one is trained in its place
            self._lead(followers.popleft())
            self._waiting[neck] = followers

    def _close(self, number: int, outcome: Outcome) -> None:
        """All that follows from a tell, new or replayed."""
        entry = replace(self._entries[number], outcome=outcome, paused=False)
        self._entries[number] = entry
        self._paused.discard(number)
        if self._rungs is not None:
            self._rungs.leave(number)
        if outcome.state == "complete":
            self._scored.setdefault(entry.neck, number)
        if entry.is_baseline:
            return
        free = outcome.is_free
        self._trained += not free
        self._free = self._free + 1 if free else 0
        own = self._own[number]
        self._controller.tell(own, told(self._plan.problem.objectives, outcome))

    def _replay(self, accepted: int) -> None:
        """Go through the record; proposals before event ``accepted`` are taken as they stand."""
        entries = self._record.history.entries
        for position, event in enumerate(self._record.history.events):
            if event["event"] == "ask":
                entry = replace(
                    entries[event["trial"]], reports=(), outcome=None, pauses=(), paused=False
                )
                self._enlist(entry)
                if not entry.is_baseline:
                    self._repeat_ask(entry, strict=position >= accepted)
            elif event["event"] == "report":
                report = Report(event["steps"], event["scores"], event["seconds"])
                number = event["trial"]
                entry = self._entries[number]
                self._entries[number] = replace(entry, reports=(*entry.reports, report))
                if not self._pauses():
                    self._climb(number, report)
            elif event["event"] == "pause":
                self._wait(event["trial"], event["steps"])
            elif event["event"] == "promote":
                self._go_on(event["trial"])
            elif event["event"] == "tell":
                outcome = entries[event["trial"]].outcome
                assert outcome is not None
                self._close(event["trial"], outcome)
            elif event["event"] == "drift":
                self._free = 0  # limits may be others: what needed no training may need some now
        if self._plan.accept_drift:  # its line came after those
            self._free = 0
        for entry in self.entries:
            if entry.outcome is None and entry.pauses and not entry.paused:
                self._lead(entry.number)  # it was promoted
            elif entry.outcome is None and not entry.paused:
                self._settle(entry.number)

    def _repeat_ask(self, entry: Entry, *, strict: bool) -> None:
        trial = self._proposal()
        assert entry.genotype is not None
        if strict and not self._plan.accept_drift:
            check_repeated(self._record.path, entry, trial)
        self._own[entry.number] = Trial(trial.number, entry.genotype)

    def _pauses(self) -> bool:
        """Whether trials are paused at rungs, instead of stopped there or trained to the end."""
        return self._plan.halving is not None and self._plan.halving.promotes

    def _pause(self, number: int, report: Report) -> None:
        self._record.append(timed(self._plan, pause_event(number, report.steps)))
        self._wait(number, report.steps)
        self._progress.append(Paused(self._entries[number]))
        self._leave(number)

    def _wait(self, number: int, steps: int) -> None:
        """All that follows from a pause, new or replayed."""
        entry = self._entries[number]
        self._entries[number] = replace(entry, pauses=(*entry.pauses, steps), paused=True)
        self._climb(number, report_at(entry, steps))
        self._paused.add(number)
        self._shelved[entry.neck] = number
        self._free = 0

    def _promote(self, number: int) -> None:
        self._record.append(promote_event(number, self._entries[number].pauses[-1]))
        self._go_on(number)
        self._progress.append(Promoted(self._entries[number]))
        self._lead(number)

    def _go_on(self, number: int) -> None:
        """All that follows from a promotion, new or replayed."""
        entry = self._entries[number]
        self._entries[number] = replace(entry, paused=False)
        self._paused.discard(number)
        self._shelved.pop(entry.neck, None)
        if self._rungs is not None:
            self._rungs.promote(number)

    def _promotable(self) -> int | None:
        """Who goes on next, if there is the time for it."""
        number = None if self._rungs is None else self._rungs.promotable()
        waits = None if number is None else due(self._plan, self._entries[number])
        return number if waits is None or has_room(self._plan, waits) else None

    def _settle_paused(self) -> None:
        """Nothing else is to be done: let the best go on if none is complete, or tell one."""
        best = None  # without rungs, which an edit of halving may have taken away, nobody goes on
        if self._rungs is not None and not any_found(self._entries):
            best = self._rungs.leader()
        if best is not None and has_room(self._plan, due(self._plan, self._entries[best])):
            self._promote(best)
        else:
            number = min(self._paused)
            self._end(number, stopped(self._entries[number]))

    def _hopeless(self) -> int | None:
        """A paused trial that can never be promoted within the budget."""
        return None if self._rungs is None else self._rungs.hopeless(self._plan.most)

    def _is_late(self) -> bool:
        """Whether a new trial would not end in time; once it is so, it stays so."""
        baseline = self._missing() is not None
        self._late = self._late or not has_room_for_new(self._plan, baseline=baseline)
        return self._late

    def _climb(self, number: int, report: Report) -> None:
        if self._rungs is not None and not self._entries[number].is_baseline:
            self._rungs.enter(number, report.steps, first_objective(self._plan, report))

    def _is_cut(self, number: int, report: Report) -> bool:
        is_own = not self._entries[number].is_baseline
        return self._rungs is not None and is_own and self._rungs.stops(number, report.steps)
