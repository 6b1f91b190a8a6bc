"""The verb explain: what each part of a neck found is worth, and where the gain comes from."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, run_of
from nas_fpn.cli.output import inert, print_json, say
from nas_fpn.errors import RunError

__all__ = ["explain"]


def explain(
    run: Annotated[str, typer.Argument(help="RUN for the best neck found, or RUN:TRIAL.")],
    seeds: Annotated[int | None, typer.Option(min=2, help="Instead of seeds in [explain].")] = None,
    most: Annotated[int | None, typer.Option(min=0, help="Instead of most in [explain].")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Instead of workers in [explain].")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="A run of the same question, searched by random_search."),
    ] = None,
    json_: Json = False,
) -> None:
    """Train simpler neighbours of a neck in the proxy, and say what each change costs, on test.

    Also where its difference to the best baseline comes from: words, topology, size, search.
    Ctrl-C leaves trainings that the same command goes on with; choose nothing by its scores.

    Example: nas-fpn explain runs/quickstart --seeds 3 --most 8
    """
    from nas_fpn.record import read_history
    from nas_fpn.report import explained_json, explained_text, open_run
    from nas_fpn.report.importance import importance
    from nas_fpn.run import explain_run, read_run

    named = run_of(run)
    if named is None:
        raise RunError(f"{run}: no such run\nname the folder of a run.toml, or RUN:TRIAL")
    folder, trial = named
    asked = read_run(folder)
    given = {"seeds": seeds, "most": most, "workers": workers}
    changed = asked.settings.explain.model_copy(
        update={key: value for key, value in given.items() if value is not None}
    )
    asked = replace(asked, settings=asked.settings.model_copy(update={"explain": changed}))
    try:
        with closing(explain_run(asked, trial, against=against)) as events:
            known = _shown(events, err=json_)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; nas-fpn explain {run} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    history = read_history(asked.folder / "history.jsonl")
    shares = importance(open_run(asked.folder, trust=True))
    if json_:
        print_json(explained_json(history, known, shares))
    else:
        say(f"\n{explained_text(history, known, shares)}")


def _shown(events: Generator[Any, None, Any], *, err: bool) -> Any:
    """Lines as it goes, on a terminal what is under way below them; what is known in the end."""
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
