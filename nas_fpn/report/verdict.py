"""What paired trainings on the test split say: a difference, its interval, a sentence."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_fpn.record import Event, History
from nas_fpn.report.student import student_quantile

__all__ = ["Gap", "checked_on_test", "paired_gap", "proxy_checks"]

TAIL = 0.025  # on either side of a 95 % interval


@dataclass(frozen=True, slots=True)
class Gap:
    """The mean of paired differences and the half-width of its 95 % interval (inf for one pair)."""

    mean: float
    half: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves 0 out, else 0."""
        return 0 if abs(self.mean) <= self.half else (1 if self.mean > 0 else -1)


def paired_gap(ours: Sequence[float], theirs: Sequence[float]) -> Gap:
    """The difference of two necks trained with the same seeds, by Student's t.

    >>> paired_gap([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]).sign
    1
    """
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    free = len(gaps) - 1
    if free < 1:
        return Gap(gaps[0], math.inf)
    half = student_quantile(TAIL, free) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Gap(statistics.fmean(gaps), half)


def proxy_checks(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events "verdict" of checks in the proxy; the others are of detectors, end to end.

    A record from before there were both does not say where.
    """
    verdicts = (event for event in events if event["event"] == "verdict")
    return tuple(event for event in verdicts if event.get("where", "proxy") == "proxy")


def checked_on_test(history: History) -> str | None:
    """The sentence of the last check on test, or None where there was none.

    It says "keep the baseline" unless the 95 % interval of the difference lies above 0.
    """
    checks = proxy_checks(history.events)
    return _said(history, checks[-1]) if checks else None


def _said(history: History, event: Event) -> str:
    found, control = history.entries[event["trial"]], history.entries[event["control"]]
    ours, theirs = event["scores"]["trial"], event["scores"]["control"]
    name = control.source.removeprefix("baseline:")
    gap = paired_gap(ours, theirs)
    word = {1: f"{found.neck} is better", 0: f"not shown to differ; keep the baseline {name}"}
    verdict = word.get(gap.sign, f"{name} is better; keep it")
    interval = (
        "one pair has no interval" if math.isinf(gap.half) else f"± {gap.half:.4f} (95 %, paired)"
    )
    count, diverged = len(ours), event.get("diverged", 0)
    lost = f"Trainings that diverged: {diverged}; each counts as a score of 0.\n"
    return (
        f"Check on test, in the proxy, with {count} new seed{'s' if count != 1 else ''} each: "
        f"{found.neck} (trial {found.number}) {statistics.fmean(ours):.4f},\n"
        f"{name} {statistics.fmean(theirs):.4f}; "
        f"{event['objective']} differs by {gap.mean:+.4f} {interval}: {verdict}.\n"
        f"{lost if diverged else ''}"
        "The backbone is frozen here; nas-fpn confirm compares the two end to end."
    )
