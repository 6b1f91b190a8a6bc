"""How many trials train at a time, as a record has it: what a run was begun with, and each change.

The event "workers" is a session's that went on with another number than the lines before it say.
"""

from nas_fpn.record import Event, History

__all__ = ["SAYING", "changed_workers", "workers_on_record"]

SAYING = ("packing", "workers")  # events


def workers_on_record(history: History) -> int | None:
    """Of the last session, 0: in the process that searches; None where no line says it."""
    said = [event["workers"] for event in history.events if event["event"] in SAYING]
    if said:
        return int(said[-1])
    first = history.events[0] if history.events else {}
    asked = first.get("machine", {}).get("ray", {}).get("workers")
    return asked if isinstance(asked, int) else None


def changed_workers(history: History, workers: int | str, *, asked: int | str) -> Event | None:
    """The line for a session of so many, None where the record says them.

    The first line of a new record says what was ``asked`` for. "auto" is no number yet.
    """
    known = workers_on_record(history) if history.events else asked
    if workers in {"auto", known}:
        return None
    return {"event": "workers", "workers": workers}
