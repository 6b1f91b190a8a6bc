"""Verbs on a cluster: submit, status, stop, fetch; and job, which is what submit starts there."""

import signal
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, Minutes, RunFolder, Trials, Workers, workers_of
from nas_fpn.cli.output import inert, print_json, say
from nas_fpn.errors import RunError, command_line

__all__ = ["fetch", "job", "status", "stop", "submit"]

Address = Annotated[
    str | None,
    typer.Option(help="The cluster's dashboard, http://HEAD:8265; absent: as it was submitted."),
]


def submit(
    run: RunFolder,
    address: Address = None,
    storage: Annotated[
        str,
        typer.Option(
            help="Folder of the cluster where the run stands, which all its nodes share if there "
            "are several; absent: ~/nas_fpn, or as before."
        ),
    ] = "",
    workers: Workers = None,
    trials: Trials = None,
    minutes: Minutes = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Confirm what was found, as nas-fpn confirm does.")
    ] = False,
    driver_cpus: Annotated[
        float, typer.Option(min=0, help="CPU cores that the search itself takes.")
    ] = 0.0,
    driver_gpus: Annotated[
        float, typer.Option(min=0, help="GPUs that it takes: it makes the bank, and confirms.")
    ] = 0.0,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A file or folder to send along, e.g. what a controller imports."),
    ] = None,
    installed: Annotated[
        bool, typer.Option("--installed", help="Use the nas_fpn that the cluster has installed.")
    ] = False,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Do not wait for the job, nor show its log.")
    ] = False,
    json_: Json = False,
) -> None:
    """Search a run on a Ray cluster: send it there, and show the log.

    What run.toml names by relative paths goes along; absolute paths and URLs stay, and the nodes
    must reach them. Ctrl-C leaves the job running.

    Example: nas-fpn submit runs/quickstart --address http://127.0.0.1:8265
    """
    from nas_fpn.folder import FILE, read_submitted
    from nas_fpn.run import read_run
    from nas_fpn.run.question import read_question
    from nas_fpn.run.settings import spread_as
    from nas_fpn.run.submit import Asked, submit_run

    asked = read_run(run)
    read_question(asked)  # what is wrong is said now, not by the cluster
    spread_as(asked, address="auto", workers=workers_of(workers))  # as the job will
    if address is None and not (asked.folder / FILE).is_file():
        raise RunError("--address: name the cluster's dashboard, e.g. http://head:8265")
    cluster = _cluster(address or read_submitted(asked.folder).address)
    how = Asked(
        storage=storage,
        workers=workers_of(workers),
        trials=trials,
        minutes=minutes,
        confirm=confirm,
        cpus=driver_cpus,
        gpus=driver_gpus,
        program=not installed,
        also=tuple(also or ()),
    )
    submitted, package, sent = submit_run(asked, cluster, how)
    facts = {
        "job": submitted.job,
        "address": submitted.address,
        "folder": submitted.folder,
        "files": len(package.files),
        "bytes": package.bytes,
        "sent": sent,
        "stays": dict(package.stays),
    }
    if json_:
        print_json(facts)
    else:
        program = "" if installed else ", with this program"
        say(f"job {submitted.job} on {submitted.address}")
        say(f"files {len(package.files)}, {_size(package.bytes)}; packed{program}, {_size(sent)}")
        for setting, text in package.stays:
            say(f"{setting} = {text}: stays where it is; the nodes must reach it")
        say(f"it stands in {submitted.folder}")
    if no_follow:
        if not json_:
            say(
                f"{command_line('status', run)} shows it, "
                f"{command_line('fetch', run)} brings the answers home"
            )
        return
    _follow(cluster, submitted.job, run, err=json_)


def status(run: RunFolder, json_: Json = False) -> None:
    """How the job of a submitted run is, and what it said last.

    Example: nas-fpn status runs/quickstart
    """
    from nas_fpn.folder import read_submitted

    submitted = read_submitted(run)
    cluster = _cluster(submitted.address)
    seen = cluster.look(submitted.job)
    if seen is None:
        raise RunError(
            f"{submitted.address}: knows no job {submitted.job}; was the cluster made anew?\n"
            f"{command_line('submit', run, '--address', submitted.address)} goes on with "
            "what is here"
        )
    last = [row for row in cluster.log(submitted.job).splitlines() if row.strip()][-1:]
    facts = {
        "job": submitted.job,
        "address": submitted.address,
        "folder": submitted.folder,
        "state": seen.state,
        "submitted": submitted.since,
        "message": _line(seen.message),
        "last": last[0] if last else "",
    }
    if json_:
        print_json(facts)
        return
    say("\n".join(f"{label:10} {text}" for label, text in facts.items() if text))
    hint = "fetch" if seen.over else "stop"
    done = "brings the answers home" if seen.over else "ends it"
    say(f"{command_line(hint, run)} {done}")


def stop(run: RunFolder) -> None:
    """End the job of a submitted run; what is on record stays, and submit goes on from there.

    Example: nas-fpn stop runs/quickstart
    """
    from nas_fpn.folder import read_submitted

    submitted = read_submitted(run)
    if _cluster(submitted.address).stop(submitted.job):
        fetch_it = command_line("fetch", run)
        say(f"job {submitted.job} is told to end; {fetch_it} brings its record home")
    else:
        say(f"job {submitted.job} had ended before; {command_line('status', run)} says how")


def fetch(
    run: RunFolder,
    whole: Annotated[
        bool, typer.Option("--whole", help="Also the weights of all trainings of a confirm.")
    ] = False,
    json_: Json = False,
) -> None:
    """Bring the answers of a submitted run home: its record, best/, what was confirmed.

    Of a job that goes on only the record and code/. A file that was changed here is kept, and said.

    Example: nas-fpn fetch runs/quickstart
    """
    from nas_fpn.folder import fetch_run, read_submitted

    submitted = read_submitted(run)
    cluster = _cluster(submitted.address)
    seen = cluster.look(submitted.job)
    running = seen is not None and not seen.over
    steps = fetch_run(run.resolve(), submitted, cluster, running=running, whole=whole)
    brought = _last(steps, err=json_)
    kept = [one.name for one in brought if one.what == "kept"]
    if json_:
        print_json({"running": running, "files": {one.name: one.what for one in brought}})
    else:
        for what in ("new", "updated", "removed", "same"):
            names = [one.name for one in brought if one.what == what]
            if names:
                shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                say(f"{what:8} {len(names):4}  {shown}")
        if running:
            say(f"the job goes on; {command_line('fetch', run)} brings best/ when it has ended")
    if kept:
        typer.echo(
            inert(
                f"{run}: kept as they are here, since they were changed: {', '.join(kept)}\n"
                "move them away, and fetch again"
            ),
            err=True,
        )
        raise typer.Exit(1)


def job(
    folder: Annotated[Path, typer.Argument(help="Where the job was unpacked.")] = Path(),
) -> None:
    """Search the run that was sent with this job; submit starts it, on the cluster.

    Example: nas-fpn job .
    """
    from nas_fpn.cli.confirm import confirm
    from nas_fpn.cli.runs import search_on
    from nas_fpn.run.submit import place

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop is Ctrl-C
    placed = place(folder)
    say(f"the run stands in {placed.folder}")
    search_on(
        placed.folder,
        trials=placed.trials,
        minutes=placed.minutes,
        address="auto",
        workers=placed.workers,
        packed=placed.inputs,
    )
    if placed.confirm:
        confirm(placed.folder)


def _cluster(address: str) -> Any:
    from nas_fpn.search.launch import connect

    return connect(address.rstrip("/"))


def _follow(cluster: Any, job_id: str, run: Path, *, err: bool) -> None:
    """Show the log to its end; then say how it ended."""
    try:
        for piece in cluster.follow(job_id):
            typer.echo(inert(piece.expandtabs()), nl=False, err=err)
    except KeyboardInterrupt:
        typer.echo(
            f"\nthe job goes on; {command_line('status', run)} shows it, "
            f"{command_line('stop', run)} ends it",
            err=True,
        )
        raise typer.Exit(130) from None
    seen = cluster.look(job_id)
    state = "gone" if seen is None else seen.state
    message = "" if seen is None else f": {_line(seen.message)}"
    if state == "SUCCEEDED":
        typer.echo(f"it has ended; {command_line('fetch', run)} brings the answers home", err=err)
        return
    typer.echo(inert(f"the job is {state}{message}"), err=True)
    raise typer.Exit(1)


def _last(steps: Generator[tuple[int, int], None, Any], *, err: bool) -> Any:
    """Say how far it is where it takes several rounds; what it returns."""
    try:
        while True:
            done, total = next(steps)
            if done < total:
                typer.echo(f"{_size(done)} of {_size(total)}", err=err)
    except StopIteration as end:
        return end.value


def _line(message: str) -> str:
    """The first line of what Ray says of a job: the log follows, which is shown by itself."""
    return message.split("\n")[0].partition(", last available logs")[0]


def _size(count: int) -> str:
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"
