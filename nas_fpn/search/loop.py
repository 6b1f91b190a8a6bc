"""The one loop that both runners drive: which trial is next, and what becomes of each.

It knows trials, numbers and the record; who trains, where and how many at a time is the runner's.
Whatever it decides follows from the record, so that a killed search resumes as if nothing had been.
"""

import math
from collections import deque
from dataclasses import replace

from nas_fpn.errors import RunError
from nas_fpn.record import (
    CLOCKED,
    Entry,
    Event,
    Outcome,
    Record,
    Report,
    Scores,
    Trial,
    ask_event,
    objective_scores,
    report_event,
    tell_event,
)
from nas_fpn.search.controller import Controller, told
from nas_fpn.search.header import begin
from nas_fpn.search.plan import Baseline, Due, Plan
from nas_fpn.search.progress import Asked, Over, Progress, Reported, Told

__all__ = ["Loop", "trained"]

MOST_WAITING = 64  # proposals equal to a neck in training; more, and the controller has to wait


class Loop:
    """A search between its steps. Making one begins the record, or replays what it holds.

    ``header`` are the facts of the run for the first line of a new record; a resumed search must
    bring the same (see :func:`nas_fpn.search.header.begin`). Raises :class:`RunError` when they
    differ, or when the controller proposes other than what is on record.
    """

    def __init__(
        self, record: Record, controller: Controller, plan: Plan, *, header: Event
    ) -> None:
        self._record = record
        self._controller = controller
        self._plan = plan
        self._entries: list[Entry] = []
        self._own: dict[int, Trial] = {}  # the controller's trial, by number in the run
        self._trained = 0
        self._free = 0  # proposals in a row that did not need training
        self._scored: dict[str, int] = {}  # the first complete trial, by canonical id
        self._rungs: dict[int, dict[int, float]] = {}  # steps, then trial: score, in order
        self._ready: deque[int] = deque()
        self._leaders: dict[str, int] = {}  # in training or ready, by canonical id
        self._waiting: dict[str, deque[int]] = {}  # equal to a leader
        self._reached: dict[int, Report] = {}  # the last report of this attempt
        self._progress: list[Progress] = []
        accepted = begin(record, header, trials=plan.trials, accept_drift=plan.accept_drift)
        self._replay(accepted)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every trial on record, by number."""
        return tuple(self._entries)

    @property
    def over(self) -> bool:
        """Whether nothing is under way and nothing more will be asked."""
        return not self._leaders and not self._more()

    def next(self) -> Due | None:
        """The next neck to train; None while there is none, for good if :attr:`over`."""
        while True:
            if self._ready:
                number = self._ready.popleft()
                return Due(number, self._entries[number].text)
            if not self._more() or sum(map(len, self._waiting.values())) >= MOST_WAITING:
                return None
            self._ask()

    def report(self, number: int, report: Report) -> bool:
        """Put a report of trial ``number`` on record; False: stop training, the trial has ended.

        One that is on record already, from before a crash, must be equal and is not written
        again. Raises :class:`RunError` if it is not.
        """
        entry = self._entries[number]
        if entry.outcome is not None:
            return False
        fault = self._fault(report)
        if fault is not None:
            self._end(number, self._failed(number, fault))
            return False
        before = next((r for r in entry.reports if r.steps == report.steps), None)
        if before is None:
            self._record.append(report_event(number, report))
            entry = replace(entry, reports=(*entry.reports, report))
            self._entries[number] = entry
            self._climb(number, report)
        elif _steady(before.scores) != _steady(report.scores) and not self._plan.accept_drift:
            raise RunError(
                f"{self._record.path}: trial {number}: at step {report.steps} the record has "
                f"{dict(before.scores)}, but this training gives {dict(report.scores)}\n"
                "the proxy, its data or a library has changed, or the machine does not repeat "
                "itself; go on with --accept-drift"
            )
        self._reached[number] = before or report
        self._progress.append(Reported(entry, report))
        if self._is_cut(number, report):
            self._end(number, Outcome("stopped", report.scores, report.steps, report.seconds))
            return False
        return True

    def finish(self, number: int, *, failure: str | None = None) -> None:
        """End trial ``number``: complete at its last report, or failed with the reason."""
        if self._entries[number].outcome is not None:
            return
        last = self._reached.get(number)
        if failure is None and last is not None:
            self._end(number, Outcome("complete", last.scores, last.steps, last.seconds))
        else:
            reason = failure or "the training gave no report"
            self._end(number, self._failed(number, reason))

    def drain(self) -> list[Progress]:
        """What has happened since the last call, in order."""
        progress, self._progress = self._progress, []
        return progress

    def ending(self) -> Over:
        """How the search ended; for runners, when :attr:`over`."""
        return Over(self._trained, exhausted=self._trained < self._plan.trials)

    def _more(self) -> bool:
        """Whether something may still be asked."""
        if self._ready or self._missing() is not None:
            return True
        ahead = sum(
            self._entries[number].source == "controller"
            for number in (*self._leaders.values(), *(n for q in self._waiting.values() for n in q))
        )
        return self._trained + ahead < self._plan.trials and self._free < self._plan.free

    def _missing(self) -> Baseline | None:
        sources = {entry.source for entry in self._entries if entry.source != "controller"}
        return next((b for b in self._plan.baselines if f"baseline:{b.name}" not in sources), None)

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
            source, genotype = "controller", trial.genotype
        entry = Entry(number, source, genotype, facts.neck, facts.text, facts.cost)
        self._record.append(ask_event(entry))
        self._entries.append(entry)
        self._progress.append(Asked(entry))
        self._settle(number)

    def _proposal(self) -> Trial:
        trial = self._controller.ask()
        counts = [choice.count for choice in self._plan.problem.choices]
        if trial.number != len(self._own):
            raise RunError(
                f"the controller numbers a trial {trial.number}, but its next is {len(self._own)}"
            )
        if len(trial.genotype) != len(counts) or not all(
            0 <= index < count for index, count in zip(trial.genotype, counts, strict=True)
        ):
            raise RunError(
                f"the controller proposes {trial.genotype}, but the options of the "
                f"{len(counts)} choices are {counts}"
            )
        return trial

    def _settle(self, number: int) -> None:
        """Answer a trial without training, or line it up."""
        entry = self._entries[number]
        beyond = self._beyond(entry)
        if entry.neck in self._scored:
            self._end(number, self._repeated(self._scored[entry.neck]))
        elif beyond and entry.source == "controller":
            self._end(number, Outcome("rejected", reason=", ".join(beyond)))
        elif entry.neck in self._leaders:
            self._waiting.setdefault(entry.neck, deque()).append(number)
        else:
            self._leaders[entry.neck] = number
            self._ready.append(number)

    def _beyond(self, entry: Entry) -> list[str]:
        """The limits that a neck exceeds, as a person reads them."""
        unknown = [name for name in self._plan.limits if name not in entry.cost]
        if unknown:
            there = ", ".join(entry.cost) or "none"
            raise RunError(f"limits: {unknown[0]!r} is no cost of a neck; there are {there}")
        return [
            f"{name} {entry.cost[name]:g} is above the limit {most:g}"
            for name, most in self._plan.limits.items()
            if entry.cost[name] > most
        ]

    def _end(self, number: int, outcome: Outcome) -> None:
        self._record.append(tell_event(number, outcome))
        self._close(number, outcome)
        self._progress.append(Told(self._entries[number]))
        neck = self._entries[number].neck
        if self._leaders.get(neck) != number:
            return
        del self._leaders[neck]
        followers = self._waiting.pop(neck, deque())
        while followers and neck in self._scored:
            self._end(followers.popleft(), self._repeated(self._scored[neck]))
        if followers:  # the leader gave no score: the next one is trained in its place
            self._leaders[neck] = followers.popleft()
            self._ready.append(self._leaders[neck])
            self._waiting[neck] = followers

    def _close(self, number: int, outcome: Outcome) -> None:
        """All that follows from a tell, new or replayed."""
        entry = replace(self._entries[number], outcome=outcome)
        self._entries[number] = entry
        if outcome.state == "complete":
            self._scored.setdefault(entry.neck, number)
        if entry.source != "controller":
            return
        free = outcome.state in {"repeated", "rejected"}
        self._trained += not free
        self._free = self._free + 1 if free else 0
        own = self._own[number]
        self._controller.tell(own, told(self._plan.problem.objectives, outcome))

    def _replay(self, accepted: int) -> None:
        """Go through the record; proposals before event ``accepted`` are taken as they stand."""
        entries = self._record.history.entries
        for position, event in enumerate(self._record.history.events):
            if event["event"] == "ask":
                entry = replace(entries[event["trial"]], reports=(), outcome=None)
                self._entries.append(entry)
                if entry.source == "controller":
                    self._repeat_ask(entry, strict=position >= accepted)
            elif event["event"] == "report":
                report = Report(event["steps"], event["scores"], event["seconds"])
                number = event["trial"]
                entry = self._entries[number]
                self._entries[number] = replace(entry, reports=(*entry.reports, report))
                self._climb(number, report)
            elif event["event"] == "tell":
                outcome = entries[event["trial"]].outcome
                assert outcome is not None
                self._close(event["trial"], outcome)
        for entry in self.entries:
            if entry.outcome is None:
                self._settle(entry.number)

    def _repeat_ask(self, entry: Entry, *, strict: bool) -> None:
        trial = self._proposal()
        assert entry.genotype is not None
        if trial.genotype != entry.genotype and strict and not self._plan.accept_drift:
            raise RunError(
                f"{self._record.path}: trial {entry.number}: the record has the genotype "
                f"{list(entry.genotype)}, but the controller now proposes {list(trial.genotype)}\n"
                "the controller or its library has changed; put it back, or go on with "
                "--accept-drift"
            )
        self._own[entry.number] = Trial(trial.number, entry.genotype)

    def _climb(self, number: int, report: Report) -> None:
        if self._plan.halving is None or self._entries[number].source != "controller":
            return
        score = self._first_objective(report)
        self._rungs.setdefault(report.steps, {})[number] = score

    def _is_cut(self, number: int, report: Report) -> bool:
        halving = self._plan.halving
        rung = self._rungs.get(report.steps, {})
        if halving is None or report.steps >= halving.steps or number not in rung:
            return False
        order = list(rung)  # what came before this report, also when it is one of a replay
        return halving.stops([rung[n] for n in order[: order.index(number) + 1]])

    def _first_objective(self, report: Report) -> float:
        objectives = self._plan.problem.objectives
        return objective_scores(objectives, report.scores)[objectives[0]]

    def _fault(self, report: Report) -> str | None:
        for name, score in report.scores.items():
            if not math.isfinite(score):
                return f"the score {name} is {score} at step {report.steps}"
        wanted = (name.removeprefix("-") for name in self._plan.problem.objectives)
        missing = [name for name in wanted if name not in report.scores]
        return f"no score {missing[0]} at step {report.steps}" if missing else None

    def _failed(self, number: int, reason: str) -> Outcome:
        last = self._reached.get(number, Report(0, {}))
        return Outcome("failed", steps=last.steps, seconds=last.seconds, reason=reason)

    def _repeated(self, of: int) -> Outcome:
        known = self._entries[of].outcome
        assert known is not None
        return replace(known, state="repeated", seconds=0.0, of=of)


def _steady(scores: Scores) -> dict[str, float]:
    """The scores that an equal training gives again."""
    return {name: score for name, score in scores.items() if name not in CLOCKED}


def trained(entries: tuple[Entry, ...]) -> int:
    """How many of the controller's trials were trained to whatever end: what ``trials`` counts."""
    return sum(
        entry.source == "controller"
        and entry.outcome is not None
        and entry.outcome.state not in {"repeated", "rejected"}
        for entry in entries
    )
