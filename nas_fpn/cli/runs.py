"""Verbs on runs: init, search, table."""

import json
import sys
from contextlib import closing
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, Minutes, RunFolder, Trials, Workers, workers_of
from nas_fpn.cli.output import display, say, say_prose
from nas_fpn.errors import RunError, command_line

__all__ = ["init", "search", "search_on", "table"]


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
    from nas_fpn.folder import start_run

    path = start_run(run, data or (), images=images)
    typer.echo(f"{path} is written; now: {command_line('search', run)}")


def search(
    run: RunFolder,
    trials: Trials = None,
    minutes: Minutes = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Go on with a record that differs from now.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(help='Instead of address in [ray]: "auto", or HEAD:6379 of a Ray cluster.'),
    ] = None,
    workers: Workers = None,
) -> None:
    """Search, or go on searching; then export the best neck to RUN/best.

    Ctrl-C leaves a run that the same command resumes.

    Example: nas-fpn search runs/quickstart
    """
    search_on(
        run,
        trials=trials,
        minutes=minutes,
        accept_drift=accept_drift,
        address=address,
        workers=workers_of(workers),
    )


def search_on(
    run: Path,
    *,
    trials: str | None,
    minutes: str | None,
    accept_drift: bool = False,
    address: str | None,
    workers: int | str | None,
    packed: Path | None = None,
) -> None:
    """The verb search; ``packed`` is the folder of files that came with a job."""
    from nas_fpn.run import command_began, drive_here, read_run, search_run, watch_of
    from nas_fpn.run.settings import spread_as
    from nas_fpn.search.local import NO_ROOM

    began = command_began()
    asked = spread_as(read_run(run), address=address, workers=workers)
    drive = drive_here
    if asked.settings.ray.workers:
        from nas_fpn.run.on_ray import drive_on_ray

        drive = drive_on_ray
        if asked.settings.ray.address != "local":
            from nas_fpn.run.on_nodes import check_nodes

            if count := check_nodes(asked, packed=packed):
                say(f"data and weights: reached from {count} nodes")
    watch, again = watch_of(asked), _again(asked, run, minutes)
    try:
        events = search_run(
            asked,
            trials=trials,
            minutes=minutes,
            began=began,
            accept_drift=accept_drift,
            drive=drive,
        )
        with closing(events):  # now, not when the interpreter ends: workers are to stop
            display(events, watch)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {again} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    except OSError as fault:
        if fault.errno not in NO_ROOM:
            raise
        typer.echo(f"{fault.filename or run}: {fault.strerror}", err=True)
        typer.echo(
            f"what is on record stays; once this can be written, {again} goes on",
            err=True,
        )
        raise typer.Exit(1) from None
    if not watch.any_complete:
        reasons = command_line("table", run)
        typer.echo(f"{run}: no trial is complete; {reasons} has the reasons", err=True)
        raise typer.Exit(1)
    if packed is None and (run / "best").is_dir():  # who submitted it fetches it first
        more, page = command_line("table", run), command_line("report", run)
        say(f"{run / 'best'} holds the best; {more} says more, {page} draws it")


def _again(asked: Any, run: Path, minutes: str | None) -> str:
    """The command that goes on with a search; minutes of the flag are named again, in all."""
    from nas_fpn.record import read_history
    from nas_fpn.run.clock import minutes_on_record
    from nas_fpn.run.timed import minutes_wanted

    if minutes is None:
        return command_line("search", run)
    planned = minutes_on_record(read_history(asked.folder / "history.jsonl"))
    in_all = minutes_wanted(asked, planned, minutes)
    return command_line("search", run, "--minutes", f"{in_all:g}")


def table(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; several are compared.")],
    sort: Annotated[
        str | None, typer.Option(help="A column, scores best first: ap75, ap/fish, params …")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    state: Annotated[
        list[str] | None, typer.Option(help="complete, stopped, failed …; may be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="baseline, controller, prior, or whole: baseline:fpn; may be repeated."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="So many trials at most.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the trials to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Likewise, as parquet.")] = None,
    json_: Json = False,
) -> None:
    """Print the trials of a run, and the verdict so far; or several runs side by side.

    Files and JSON hold every trial, unless --state, --source or --top says less.

    Example: nas-fpn table runs/quickstart --csv trials.csv
    """
    from nas_fpn.report import (
        Selection,
        answer_json,
        answer_text,
        frame,
        selected,
        side_by_side,
        side_by_side_json,
        stacked,
    )

    wanted = Selection(sort, reverse, tuple(state or ()), tuple(source or ()), top)
    opened = [_record_of(run) for run in runs]
    names = [run.name for run in opened]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    if len(set(names)) < len(names):
        raise RunError(f"{', '.join(names)}: each run can be named once")
    by_name = dict(zip(names, opened, strict=True))
    if csv is not None or parquet is not None:
        several = len(runs) > 1
        whole = stacked(by_name, wanted) if several else selected(frame(opened[0].history), wanted)
        if csv is not None:
            csv.write_text(whole.to_csv(index=False), encoding="utf-8")
        if parquet is not None:
            parquet.write_bytes(whole.to_parquet(index=False))
    if len(runs) > 1:
        answer = side_by_side_json(by_name, wanted) if json_ else side_by_side(by_name)
    else:
        history = opened[0].history
        width = get_terminal_size().columns if sys.stdout.isatty() else None
        answer = (
            answer_json(history, wanted) if json_ else answer_text(history, wanted, width=width)
        )
    if isinstance(answer, str):
        say_prose(answer)
    else:
        say(json.dumps(answer, indent=2))


def _record_of(run: Path) -> Any:
    """A run by its record alone: a table draws nothing and needs no space."""
    from nas_fpn.record import read_history
    from nas_fpn.report import Opened
    from nas_fpn.report.opened import no_record
    from nas_fpn.strange import inside

    path = inside(run, "history.jsonl")
    if not path.is_file():
        raise no_record(run)
    return Opened(run.resolve().name, read_history(path))
