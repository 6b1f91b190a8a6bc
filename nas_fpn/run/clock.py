"""The time of a run whose minutes are bounded: what is spent, what is left, what still fits.

The clock starts at the command, imports included. What it expects of a training is what the last
ones took, so that a machine that slows down gets fewer of them, and none too late.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from nas_fpn.record import Entry, History
from nas_fpn.run.plan import KEPT, margin_of

__all__ = ["RunClock", "command_began", "minutes_on_record", "spent_on_record"]

LAST = 8  # trainings that the next one is expected to be like
OLDEST = 3600.0  # seconds; a process that claims to be older was not started for this command


def command_began() -> float:
    """When this process began, as ``time.monotonic()`` would have said; now where none knows."""
    now = time.monotonic()
    stat = Path("/proc/self/stat")
    if not stat.is_file() or not hasattr(time, "CLOCK_BOOTTIME"):
        return now
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])  # since the machine was started
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return now - age if 0 <= age < OLDEST else now


def spent_on_record(history: History, *, workers: int) -> float:
    """Seconds that a run has taken by its record; where no line says it, its trials' own."""
    told = [float(event["spent"]) for event in history.events if "spent" in event]
    if told:
        return max(told)
    took = (one.outcome.seconds for one in history.entries if one.outcome is not None)
    return sum(took) / max(workers, 1)


def minutes_on_record(history: History) -> float | None:
    """The minutes that a run was last asked for; None where it was not asked for any.

    A session that goes on makes no plan: that it had more is said by the line that ends it.
    """
    of_plan, of_end = (
        next((float(e["minutes"]) for e in reversed(history.events) if e["event"] == kind), 0.0)
        for kind in ("plan", "over")
    )
    return max(of_plan, of_end) or None


class RunClock:
    """The clock of one session: what :class:`nas_fpn.search.plan.Clock` asks for, and the check.

    ``seconds`` in all, ``before`` of them in earlier sessions; this one began at ``began``, as
    ``now()`` gives it.
    """

    def __init__(
        self,
        seconds: float,
        *,
        began: float,
        before: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._began = began
        self._before = before
        self._now = now
        self._steps = 1
        self._seeds = 0
        self._kept = 0.0  # seconds for the check and the export
        self._expected = 0.0  # seconds of a training to its end, before any is seen
        self._seen: dict[int, deque[float]] = {}  # seconds of the last ones, by their steps
        self._closed = False

    def follow(self, *, steps: int, seeds: int, expected: float = 0.0) -> None:
        """What a plan says: the steps of a training and its seconds, and the seeds of the check."""
        self._steps, self._seeds = steps, seeds
        self._expected = expected
        self._kept = KEPT * (self.seconds - self.spent())

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is to be searched."""
        return self._closed

    @property
    def is_to_plan(self) -> bool:
        """Whether nothing tells yet how long trainings take, so that a plan has to time some."""
        return not self._closed and not self._seen

    def close(self) -> None:
        """Nothing more is to be searched in this session."""
        self._closed = True

    def learn(self, entries: Iterable[Entry]) -> None:
        """Take in how long trials were trained that have ended, or paused."""
        for entry in entries:
            if entry.reports:
                last = entry.reports[-1]
                self._seen.setdefault(last.steps, deque(maxlen=LAST)).append(last.seconds)

    def spent(self) -> float:
        """Seconds that the run has taken by now."""
        return self._before + self._now() - self._began

    def to_end(self) -> float:
        """Seconds until all should be over."""
        return self.seconds - margin_of(self.seconds) - self.spent()

    def to_export(self) -> float:
        """Seconds until the export has to begin, which is given the time of a training."""
        return self.to_end() - self.training()

    def left(self) -> float:
        """Seconds until what is in training is cut, so that the check can be made."""
        return self.to_end() - self._reserve()

    def has_room(self, begin: int, pause: int | None) -> bool:
        """Whether a training that starts now would end before the check has to begin."""
        if self._closed:
            return False
        return self.training(begin, pause) <= self.left()

    def training(self, begin: int = 0, pause: int | None = None) -> float:
        """Seconds of a training from ``begin`` to ``pause`` (None: its end).

        By the longest of the last ones that went so far, or else by those that came nearest.
        """
        end = self._steps if pause is None else pause
        if not self._seen:
            return self._expected * (end - begin) / self._steps
        # Copies: one thread asks while another learns.
        near = min(tuple(self._seen), key=lambda steps: (abs(steps - end), -steps))
        return max(tuple(self._seen[near])) * (end - begin) / near

    def _reserve(self) -> float:
        """For the export and the check, of which a quarter of the time is enough."""
        one = self.training()
        check = 2 * self._seeds * one
        return one + max(min(check, self._kept - one), min(check, 2 * one))
