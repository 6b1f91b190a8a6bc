"""Verbs on runs: init, search, table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json, RunFolder
from nas_fpn.cli.output import display, say
from nas_fpn.errors import RunError

__all__ = ["init", "search", "table"]


def init(
    run: RunFolder,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with train.json …, or the JSON files of train, val, test."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where the file names in the JSON files start.")
    ] = None,
) -> None:
    """Write a run.toml that shows every setting, its default and its meaning.

    Example: nas-fpn init runs/mine --data path/to/coco
    """
    from nas_fpn.run import start_run

    path = start_run(run, data or (), images=images)
    typer.echo(f"{path} is written; now: nas-fpn search {run}")


def search(
    run: RunFolder,
    trials: Annotated[
        str | None, typer.Option(help="A new budget: 80 in all, or +100 for as many more.")
    ] = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Go on with a record that differs from now.")
    ] = False,
) -> None:
    """Search, or go on searching; then export the best neck to RUN/best.

    Ctrl-C leaves a run that the same command resumes.

    Example: nas-fpn search runs/quickstart
    """
    from nas_fpn.run import drive_here, read_run, search_run, watch_of

    asked = read_run(run)
    drive = drive_here
    if asked.settings.ray.workers:
        from nas_fpn.run.on_ray import drive_on_ray

        drive = drive_on_ray
    watch = watch_of(asked)
    try:
        events = search_run(asked, trials=trials, accept_drift=accept_drift, drive=drive)
        display(events, watch)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; nas-fpn search {run} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    if not watch.any_complete:
        typer.echo(f"{run}: no trial is complete; nas-fpn table {run} has the reasons", err=True)
        raise typer.Exit(1)


def table(
    run: RunFolder,
    csv: Annotated[Path | None, typer.Option(help="Write the whole table to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Likewise, as parquet.")] = None,
    json_: Json = False,
) -> None:
    """Print every trial of a run, and the verdict so far.

    Example: nas-fpn table runs/quickstart --csv trials.csv
    """
    from nas_fpn.record import read_history
    from nas_fpn.report import answer_json, answer_text, frame

    path = run / "history.jsonl"
    if not path.is_file():
        raise RunError(f"{path}: no such file\nrun it with: nas-fpn search {run}")
    history = read_history(path)
    whole = frame(history)
    if csv is not None:
        csv.write_text(whole.to_csv(index=False), encoding="utf-8")
    if parquet is not None:
        parquet.write_bytes(whole.to_parquet(index=False))
    say(json.dumps(answer_json(history), indent=2) if json_ else answer_text(history))
