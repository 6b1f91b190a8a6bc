"""The verb calibrate: how far the proxy of a run ranks necks as a training end to end would."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import inert, print_json, say

__all__ = ["calibrate"]


def calibrate(
    run: RunFolder,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Instead of minutes in [calibrate].")
    ] = None,
    tau: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Instead of tau in [calibrate].")
    ] = None,
    necks: Annotated[int | None, typer.Option(min=4, help="Instead of necks there.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Instead of seeds there.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Instead of workers there.")] = None,
    json_: Json = False,
) -> None:
    """Train the same necks in the proxy and end to end; say how alike both rank, and choose.

    Ctrl-C, or the end of the minutes, leaves trainings that the same command goes on with. What is
    found stands beside every later answer of the run.

    Example: nas-fpn calibrate runs/quickstart --minutes 60
    """
    from nas_fpn.report import calibrated_json, calibrated_text
    from nas_fpn.run import calibrate_run, read_run

    asked = read_run(run)
    given = {"minutes": minutes, "tau": tau, "necks": necks, "seeds": seeds, "workers": workers}
    changed = asked.settings.calibrate.model_copy(
        update={key: value for key, value in given.items() if value is not None}
    )
    asked = replace(asked, settings=asked.settings.model_copy(update={"calibrate": changed}))
    try:
        with closing(calibrate_run(asked)) as events:
            event = _shown(events, err=json_)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; nas-fpn calibrate {run} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    if json_:
        print_json(calibrated_json(event))
    else:
        say(f"\n{calibrated_text(event)}")


def _shown(events: Generator[Any, None, Any], *, err: bool) -> Any:
    """Lines as it goes, on a terminal what is under way below them; the result in the end."""
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
