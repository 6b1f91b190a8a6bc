"""The verb plan: what a search would do with its time."""

from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import print_json, say

__all__ = ["plan"]


def plan(
    run: RunFolder,
    minutes: Annotated[
        str | None, typer.Option(help="As if the run had so many: 90 in all, or +30.")
    ] = None,
    json_: Json = False,
) -> None:
    """Prepare a run, time a few trainings, and print what a search would do with its minutes.

    Nothing is searched. What is prepared (backbone, features) stays, and the search finds it.

    Example: nas-fpn plan runs/quickstart --minutes 10
    """
    from nas_fpn.run import command_began, plan_json, plan_run, plan_text, read_run

    began = command_began()
    steps = plan_run(read_run(run), minutes=minutes, began=began)
    try:
        while True:
            step = next(steps)
            if step.done == step.total:
                typer.echo(f"{step.stage}: done", err=True)
    except StopIteration as end:
        outlook = end.value
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; nas-fpn plan {run} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    if json_:
        told = plan_json(outlook.plan)
        print_json({**told, "minutes": told["minutes"] if outlook.bounded else None})
    else:
        say(plan_text(outlook.plan, bounded=outlook.bounded))
        if outlook.why:
            say(outlook.why)
