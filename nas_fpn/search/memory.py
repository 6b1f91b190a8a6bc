"""A record that is kept in memory and nowhere else: for searches that are simulated."""

from pathlib import Path

from nas_fpn.record import Event, History

__all__ = ["MemoryRecord"]


class MemoryRecord:
    """Takes what a :class:`nas_fpn.record.Record` takes; begins empty and cannot be resumed.

    ``events`` are the lines that the file would have.
    """

    def __init__(self) -> None:
        self.path = Path("a simulated search")
        self.history = History()
        self.events: list[Event] = []

    def append(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)
