"""What a person is told while a run goes on: events in, values out. Printing is the caller's."""

import re
from collections import Counter
from collections.abc import Iterable
from statistics import fmean

from nas_fpn.record import Entry, History
from nas_fpn.record import Event as Line
from nas_fpn.report import checked_on_test, noise_of
from nas_fpn.report.counted import counted
from nas_fpn.run.look import Look, Shown, duration
from nas_fpn.run.packed import Packed
from nas_fpn.run.prepare import Step
from nas_fpn.run.search import Begun, Checked, Event
from nas_fpn.run.settings import Run
from nas_fpn.run.timed import Planned
from nas_fpn.search import Noted, Over, Paused, Reported, Told, trained

__all__ = ["Watch", "watch_of"]

QUIET = 20.0  # seconds of a stage after which a line says how far it is


def watch_of(run: Run) -> "Watch":
    """What watches a run of these settings."""
    settings = run.settings
    return Watch(
        settings.objectives[0],
        name=run.folder.resolve().name,
        workers=1 if settings.ray.workers == "auto" else max(settings.ray.workers, 1),
        steps=settings.proxy.steps,
    )


class Watch:
    """The state of a run as it is shown: n of N, the best so far, the time left.

    ``objective`` is the score that is shown; larger is better. ``now`` is seconds of any clock.
    """

    def __init__(
        self, objective: str, *, name: str = "", workers: int = 1, steps: int | None = None
    ) -> None:
        self.objective = objective
        self.name = name
        self.workers = workers
        self.steps = steps  # of a whole training
        self.done = 0
        self.total = 0
        self.stage = "beginning"
        self._entries: dict[int, Entry] = {}
        self._began = 0.0
        self._told = 0.0  # when a line last said how far a stage is
        self._ended: float | None = None
        self._until: float | None = None  # when the time that was asked for is over
        self._before = 0  # trained before this session
        self._wanted = (0, 0)  # trials, baselines
        self._checks: list[Line] = []

    def see(self, event: Event, *, now: float) -> str | None:
        """Take in one event; return the line that it is worth, if any."""
        if isinstance(event, Step):
            return self._step(event, now=now)
        if isinstance(event, Packed):
            self.workers = max(event.workers, 1)
            return event.text
        if isinstance(event, Planned):
            self._until = now + event.left
            if event.plan is not None:
                self.steps = event.plan.steps
            return event.text
        if isinstance(event, Begun):
            return self._begin(event, now=now)
        if isinstance(event, Over):
            return self._over(event, now=now)
        if isinstance(event, Noted):
            return event.text
        if isinstance(event, Checked):
            self._checks.append(event.line)
            return checked_on_test(History((event.line,), tuple(self._entries.values())))
        self._entries[event.entry.number] = event.entry
        if isinstance(event, Reported):
            self.stage = f"trial {event.entry.number} at step {event.report.steps}"
        if not isinstance(event, (Paused, Told)):
            return None
        self.done = self._trained()
        self.total = max(self.total, self.done)  # time may leave room for more than was planned
        return f"[{self.done}/{self.total}] {self._said(event.entry)}; {self.status(now=now)}"

    def status(self, *, now: float) -> str:
        """The best so far against the best baseline, and the time left."""
        found = self._best(baselines=False)
        control = self._best(baselines=True)
        parts = []
        if found is not None:
            parts.append(f"best found {self._score(found):.4f} (trial {found.number})")
        if control is not None:
            name = control.source.removeprefix("baseline:")
            parts.append(f"best baseline {self._score(control):.4f} ({name})")
        here = self.done - self._before
        if self._until is not None:
            parts.append(f"{duration(max(self._until - now, 0.0))} left")
        elif here > 0 and self.total > self.done:
            left = (now - self._began) / here * (self.total - self.done)
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts) or self.stage

    def look(self, *, now: float) -> Look:
        """All that there is to see at this moment."""
        entries = tuple(self._entries.values())
        way = [one for one in entries if one.outcome is None and not one.paused]
        baselines = sum(one.is_baseline and one.outcome is not None for one in entries)
        done = (trained(entries), baselines)
        per_hour, measured = self._speed(now)
        to_go = sum(self._wanted) - sum(done)
        left = 3600 * to_go / per_hour if per_hour and to_go > 0 and self._ended is None else None
        if self._until is not None:
            left = max(self._until - now, 0.0)
        ends = [one.outcome for one in entries if one.outcome is not None]
        return Look(
            name=self.name,
            stage=self.stage,
            done=self.done,
            total=self.total,
            objective=self.objective,
            trials=(done[0], self._wanted[0]),
            baselines=(done[1], self._wanted[1]),
            steps=self.steps,
            per_hour=per_hour,
            measured=measured,
            left=left,
            best=self._shown(self._best(baselines=False)),
            control=self._shown(self._best(baselines=True)),
            noise=noise_of(entries, self._checks, self.objective),
            states=tuple(Counter(one.state for one in ends).most_common()),
            reasons=_reasons(one.reason for one in ends if one.reason is not None),
            workers=self.workers,
            busy=len({one.neck for one in way}),  # of equal ones one is trained
            paused=tuple(sorted(Counter(one.pauses[-1] for one in entries if one.paused).items())),
            under_way=tuple(self._far(one) for one in way),
        )

    @property
    def any_complete(self) -> bool:
        """Whether some trial is complete."""
        return any(
            one.outcome is not None and one.outcome.state == "complete"
            for one in self._entries.values()
        )

    def _step(self, step: Step, *, now: float) -> str | None:
        if step.stage != self.stage:
            self._told = now
        self.stage = step.stage
        self.done, self.total = step.done, step.total
        if step.done == step.total:
            return f"{step.stage}: done"
        if now - self._told < QUIET:
            return None
        self._told = now
        return f"{step.stage}: {step.done} of {step.total}"

    def _begin(self, begun: Begun, *, now: float) -> str:
        self._entries = {entry.number: entry for entry in begun.entries}
        self._wanted = (begun.trials, begun.baselines)
        self._checks = list(begun.checks)
        self._ended = None
        self.done = self._before = self._trained()
        self.total = max(sum(self._wanted), self.done)
        self._began = now
        self.stage = "searching"
        goes_on = f", going on after {self.done}" if begun.entries else ""
        baselines, trials = counted(begun.baselines, "baseline"), counted(begun.trials, "trial")
        counts = f"searching: {baselines} and {trials}{goes_on}"
        return "\n".join([*begun.notes, counts])

    def _over(self, over: Over, *, now: float) -> str:
        self.stage = "searched"
        self._ended = now
        if over.late:
            return f"the time is over: {over.trained} trials beyond the baselines"
        if over.exhausted:
            return (
                f"the search is over after {over.trained} trials beyond the baselines: all that "
                "the controller proposes is known, or beyond the limits"
            )
        return f"the search is over: {over.trained} trials beyond the baselines"

    def _trained(self) -> int:
        entries = tuple(self._entries.values())
        baselines = sum(entry.is_baseline and entry.outcome is not None for entry in entries)
        return baselines + trained(entries)

    def _said(self, entry: Entry) -> str:
        outcome = entry.outcome
        name = _name(entry)
        if outcome is None:
            (last,) = [one for one in entry.reports if one.steps == entry.pauses[-1]]
            score = f"{self.objective} {last.scores[self.objective]:.4f}"
            return f"trial {entry.number} {name}: paused at step {last.steps}, {score}"
        said = f"trial {entry.number} {name}: {outcome.state}"
        if outcome.of is not None:
            said += f" of trial {outcome.of}"
        if self.objective in outcome.scores:
            said += f", {self.objective} {outcome.scores[self.objective]:.4f}"
        if outcome.reason is not None:
            said += f" ({outcome.reason})"
        return said if outcome.seconds == 0 else f"{said}, {outcome.seconds:.0f} s"

    def _best(self, *, baselines: bool) -> Entry | None:
        complete = [
            entry
            for entry in self._entries.values()
            if entry.is_baseline == baselines
            and entry.outcome is not None
            and entry.outcome.state == "complete"
            and self.objective in entry.outcome.scores
        ]
        return max(complete, key=lambda one: (self._score(one), -one.number), default=None)

    def _score(self, entry: Entry) -> float:
        assert entry.outcome is not None
        return entry.outcome.scores[self.objective]

    def _shown(self, entry: Entry | None) -> Shown | None:
        if entry is None or entry.outcome is None:
            return None
        return Shown(entry.number, _name(entry), self._score(entry), entry.outcome.steps)

    def _far(self, entry: Entry) -> Shown:
        """A trial under way, at its last report."""
        if not entry.reports:
            return Shown(entry.number, _name(entry))
        last = entry.reports[-1]
        return Shown(entry.number, _name(entry), last.scores.get(self.objective), last.steps)

    def _speed(self, now: float) -> tuple[float | None, bool]:
        """Trained trials per hour, and whether a clock measured them in this session."""
        entries = self._entries.values()
        here = self._trained() - self._before
        elapsed = (now if self._ended is None else self._ended) - self._began
        if here > 0 and elapsed > 0:
            return 3600 * here / elapsed, True
        seconds = [one.outcome.seconds for one in entries if one.outcome and one.outcome.seconds]
        return (3600 * self.workers / fmean(seconds) if seconds else None), False


def _name(entry: Entry) -> str:
    return entry.source.removeprefix("baseline:") if entry.is_baseline else entry.neck


def _reasons(given: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Reasons that differ in numbers only are one; each stands as it was given first."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for reason in given:
        line = reason.partition("\n")[0]
        kind = re.sub(r"\d[\d.]*(e[+-]?\d+)?", "#", line)
        counts[kind] += 1
        first.setdefault(kind, line)
    return tuple((first[kind], count) for kind, count in counts.most_common())
