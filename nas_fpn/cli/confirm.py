"""The verb confirm: the best necks against the best baselines, in real detectors."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import print_json, say_prose
from nas_fpn.cli.steps import to_the_end

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
    events = _to_its_line(confirm_run(asked))
    line = to_the_end(events, verb="confirm", run=run, err=json_)
    if json_:
        print_json(confirmed_json(line))
    else:
        say_prose(f"\n{confirmed_text(line)}")


def _to_its_line(events: Generator[Any, None, None]) -> Generator[Any, None, Any]:
    """The events of a comparison up to its verdict, whose line on record is the result."""
    from nas_fpn.run import Confirmed

    with closing(events):
        for event in events:
            if isinstance(event, Confirmed):
                return event.line
            yield event
    raise AssertionError("a comparison ends with its verdict")
