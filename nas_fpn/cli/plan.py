"""The verb plan: what a search would do with its time."""

from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import print_json, say
from nas_fpn.errors import command_line

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
    from nas_fpn.run.started import not_started

    began = command_began()
    asked = read_run(run)
    started = not_started
    if asked.settings.ray.workers:
        from nas_fpn.run.on_ray import ray_started

        started = ray_started
    steps = plan_run(asked, minutes=minutes, began=began, started=started)
    try:
        while True:
            step = next(steps)
            if step.done == step.total:
                typer.echo(f"{step.stage}: done", err=True)
    except StopIteration as end:
        outlook = end.value
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {command_line('plan', run)} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    if json_:
        told = plan_json(outlook.plan)
        told["minutes"] = told["minutes"] if outlook.bounded else None
        line = outlook.packed.line or {}
        measured = {"measured": line["measured"]} if line else {}
        print_json({**told, "threads": outlook.threads, **measured})
    else:
        if outlook.packed.text:
            say(outlook.packed.text)
        say(plan_text(outlook.plan, bounded=outlook.bounded))
        if outlook.why:
            say(outlook.why)
