"""What a clock has to say about a search: facts of a plan, no state. Without one there is time."""

from nas_fpn.record import Entry, Event, Outcome
from nas_fpn.search.plan import Due, Plan

__all__ = ["OVER", "cut_short", "has_room", "has_room_for_new", "timed"]

OVER = "the time of the search was over"


def has_room(plan: Plan, due: Due) -> bool:
    """Whether a trial that is begun, or goes on, now would end in time."""
    return plan.clock is None or plan.clock.has_room(due.begin, due.pause)


def has_room_for_new(plan: Plan, *, baseline: bool) -> bool:
    """Whether one that nobody has asked for yet would."""
    promotes = plan.halving is not None and plan.halving.promotes and not baseline
    pause = plan.halving.rungs[0] if plan.halving is not None and promotes else None
    return plan.clock is None or plan.clock.has_room(0, pause)


def timed(plan: Plan, event: Event) -> Event:
    """The event with what the run has taken by now, where that is bounded."""
    return event if plan.clock is None else {**event, "spent": round(plan.clock.spent(), 3)}


def cut_short(entry: Entry) -> Outcome:
    """Of a trial that the end of the search's time has cut: as far as it was measured."""
    if not entry.reports:
        return Outcome("failed", reason=f"{OVER} before it was measured")
    last = entry.reports[-1]
    return Outcome("stopped", last.scores, last.steps, last.seconds, reason=OVER)
