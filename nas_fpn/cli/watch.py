"""The verb watch: look at a run that another process searches."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import RunFolder
from nas_fpn.cli.output import display, show_once

__all__ = ["watch"]


def watch(
    run: RunFolder,
    once: Annotated[bool, typer.Option("--once", help="Print the table once, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Follow a run that another process searches, until it is over; changes nothing.

    It is over when the record says so: all trials that were asked for have ended, and the best is
    checked on test if run.toml wants it. Whether the other process lives is not on record; the
    table says when the record was last written.

    Example: nas-fpn watch runs/quickstart
    """
    from nas_fpn.report.opened import no_record
    from nas_fpn.run import follow, read_run, watch_of

    asked = read_run(run)
    path = run / "history.jsonl"
    seen = watch_of(asked)
    if once:
        if not path.is_file():
            raise no_record(run)
        for event in follow(asked):
            if event is None:
                break
            seen.see(event, now=time.monotonic())
        show_once(seen.look(now=time.monotonic()), written=_written(path))
        return
    try:
        display(_paced(follow(asked), every), seen, written=lambda: _written(path))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _paced(events: Iterator[Any], every: float) -> Iterator[Any]:
    """Wait where there is nothing new; a long record takes a fifth of the time at most."""
    began = time.monotonic()
    for event in events:
        yield event
        if event is None:
            time.sleep(max(every, 4 * (time.monotonic() - began)))
            began = time.monotonic()


def _written(path: Any) -> float | None:
    """Seconds since a record was last written; None before it begins."""
    return max(time.time() - path.stat().st_mtime, 0.0) if path.is_file() else None
