"""The verb confirm: the best necks against the best baselines, in real detectors."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import inert, print_json, say

__all__ = ["confirm"]


def confirm(
    run: RunFolder,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Instead of minutes in [confirm].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Instead of workers in [confirm].")
    ] = None,
    json_: Json = False,
) -> None:
    """Train the best necks and the best baselines end to end, and say which is better, on test.

    All with the same seeds, until the difference is decided or the minutes end; a baseline at the
    cost of the neck that it is compared with. RUN/best then holds the neck that the verdict names.
    Ctrl-C leaves a comparison that the same command goes on with.

    Example: nas-fpn confirm runs/quickstart
    """
    from nas_fpn.report import confirmed_json, confirmed_text
    from nas_fpn.run import confirm_run, read_run

    asked = read_run(run)
    given = {"minutes": minutes, "workers": workers}
    changed = asked.settings.confirm.model_copy(
        update={key: value for key, value in given.items() if value is not None}
    )
    asked = replace(asked, settings=asked.settings.model_copy(update={"confirm": changed}))
    try:
        with closing(confirm_run(asked)) as events:  # now: workers are to stop
            line = _shown(events, err=json_)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; nas-fpn confirm {run} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    if json_:
        print_json(confirmed_json(line))
    else:
        say(f"\n{confirmed_text(line)}")


def _shown(events: Iterable[Any], *, err: bool) -> Any:
    """Lines as it goes, on a terminal what is under way below them; the verdict's event."""
    from rich.console import Console

    from nas_fpn.run import Confirmed, Step

    console = Console(highlight=False, soft_wrap=True, stderr=err)
    with console.status("beginning") as status:  # shows nothing where there is no terminal
        for event in events:
            if isinstance(event, Confirmed):
                return event.line
            if not isinstance(event, Step):
                console.print(inert(event.text), markup=False)
            elif event.done < event.total:
                status.update(inert(f"{event.stage}: {event.done} of {event.total}"))
            else:
                console.print(inert(f"{event.stage}: done"), markup=False)
    raise AssertionError("a comparison ends with its verdict")
