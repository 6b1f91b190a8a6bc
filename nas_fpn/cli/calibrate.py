"""The verb calibrate: how far the proxy of a run ranks necks as a training end to end would."""

from dataclasses import replace
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import print_json, say_prose
from nas_fpn.cli.steps import to_the_end

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
    events = calibrate_run(asked)
    event = to_the_end(events, verb="calibrate", run=run, err=json_)
    if json_:
        print_json(calibrated_json(event))
    else:
        say_prose(f"\n{calibrated_text(event)}")
