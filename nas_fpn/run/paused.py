"""What paused trials leave on disk, kept just as long as somebody may go on from it."""

from collections.abc import Iterator
from pathlib import Path

from nas_fpn.proxy.checkpoint import checkpoint_file, keep_only
from nas_fpn.record import Entry
from nas_fpn.run.settings import Run
from nas_fpn.search import Loop, Paused, Progress, Told

__all__ = ["checkpoint_folder", "tidied"]


def checkpoint_folder(run: Run) -> Path:
    """Where the checkpoints of a run lie; every worker must reach it."""
    return run.folder / "checkpoints"


def tidied(folder: Path, loop: Loop, steps: Iterator[Progress]) -> Iterator[Progress]:
    """``steps`` of ``loop``, and in ``folder`` no checkpoint that is needed no more.

    What a killed search has left there beyond that is removed at the start. An interrupted one
    keeps what it goes on from.
    """
    keep_only(folder, _needed(loop.entries))
    for step in steps:
        if isinstance(step, Paused):
            _remove(folder, step.entry, step.entry.pauses[:-1])
        elif isinstance(step, Told):
            _remove(folder, step.entry, step.entry.pauses)
        yield step
    keep_only(folder, _needed(loop.entries))


def _needed(entries: tuple[Entry, ...]) -> list[tuple[int, int]]:
    """Trial and steps of each checkpoint that the search may go on from."""
    return [
        (entry.number, entry.pauses[-1])
        for entry in entries
        if entry.outcome is None and entry.pauses
    ]


def _remove(folder: Path, entry: Entry, steps: tuple[int, ...]) -> None:
    for done in steps:
        checkpoint_file(folder, entry.number, done).unlink(missing_ok=True)
