"""A long work of a run, shown as it goes: what confirm, explain and calibrate have in common."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import typer

from nas_fpn.cli.output import inert
from nas_fpn.errors import command_line

__all__ = ["to_the_end"]


def to_the_end(events: Generator[Any, None, Any], *, verb: str, run: str | Path, err: bool) -> Any:
    """Print the lines of a work, on a terminal what is under way below them; give its result.

    ``err`` prints to stderr, where stdout is for JSON. Ctrl-C ends the program with 130 and says
    that ``verb`` on ``run`` goes on; a training that diverged ends it with 1.
    """
    try:
        with closing(events):  # now: workers are to stop
            return _shown(events, err=err)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {command_line(verb, run)} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None


def _shown(events: Generator[Any, None, Any], *, err: bool) -> Any:
    from rich.console import Console

    from nas_fpn.run import Step

    console = Console(highlight=False, soft_wrap=True, stderr=err)
    with console.status("beginning") as status:  # shows nothing where there is no terminal
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            if not isinstance(event, Step):
                console.print(inert(event.text), markup=False)
            elif event.done < event.total:
                status.update(inert(f"{event.stage}: {event.done} of {event.total}"))
            else:
                console.print(inert(f"{event.stage}: done"), markup=False)
