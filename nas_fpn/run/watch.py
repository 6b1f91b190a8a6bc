"""What a person is told while a run goes on: events in, lines out. Printing is the caller's."""

from nas_fpn.record import Entry
from nas_fpn.run.prepare import Step
from nas_fpn.run.search import Begun, Event
from nas_fpn.search import Noted, Over, Paused, Reported, Told, trained

__all__ = ["Watch"]


class Watch:
    """The state of a run as it is shown: n of N, the best so far, the time left.

    ``objective`` is the score that is shown; larger is better. ``now`` is seconds of any clock.
    """

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.done = 0
        self.total = 0
        self.stage = "beginning"
        self._entries: dict[int, Entry] = {}
        self._began = 0.0
        self._before = 0  # trained before this session

    def see(self, event: Event, *, now: float) -> str | None:
        """Take in one event; return the line that it is worth, if any."""
        if isinstance(event, Step):
            return self._step(event)
        if isinstance(event, Begun):
            return self._begin(event, now=now)
        if isinstance(event, Over):
            return self._over(event)
        if isinstance(event, Noted):
            return event.text
        self._entries[event.entry.number] = event.entry
        if isinstance(event, Reported):
            self.stage = f"trial {event.entry.number} at step {event.report.steps}"
        if not isinstance(event, (Paused, Told)):
            return None
        self.done = self._trained()
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
        if here > 0 and self.total > self.done:
            left = (now - self._began) / here * (self.total - self.done)
            parts.append(f"about {_duration(left)} left")
        return ", ".join(parts) or self.stage

    @property
    def any_complete(self) -> bool:
        """Whether some trial is complete."""
        return any(
            one.outcome is not None and one.outcome.state == "complete"
            for one in self._entries.values()
        )

    def _step(self, step: Step) -> str | None:
        self.stage = step.stage
        self.done, self.total = step.done, step.total
        return f"{step.stage}: done" if step.done == step.total else None

    def _begin(self, begun: Begun, *, now: float) -> str:
        self._entries = {entry.number: entry for entry in begun.entries}
        self.total = begun.trials + begun.baselines
        self.done = self._before = self._trained()
        self._began = now
        self.stage = "searching"
        goes_on = f", going on after {self.done}" if begun.entries else ""
        counts = f"searching: {begun.baselines} baselines and {begun.trials} trials{goes_on}"
        return "\n".join([*begun.notes, counts])

    def _over(self, over: Over) -> str:
        self.stage = "searched"
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
        name = entry.source.removeprefix("baseline:") if entry.is_baseline else entry.neck
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


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
