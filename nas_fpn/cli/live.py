"""Verbs that show a run in a browser: dashboard, mirror."""

from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import RunFolder, Trust
from nas_fpn.errors import RunError

__all__ = ["dashboard", "mirror"]


def dashboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Who may look: this machine; 0.0.0.0: everybody who reaches it.")
    ] = "127.0.0.1",
    trust: Trust = False,
) -> None:
    """Open optuna-dashboard on runs, finished or under way, until Ctrl-C. Nothing is written.

    Example: nas-fpn dashboard runs/quickstart
    """
    try:
        from nas_fpn.report.dashboard import LOOPBACK, serve
    except ModuleNotFoundError as fault:
        if fault.name != "optuna_dashboard":
            raise
        raise RunError(
            "the dashboard needs optuna-dashboard\npip install 'nas-fpn[dashboard]'"
        ) from None
    if host not in LOOPBACK:
        typer.echo(f"{host}: whoever reaches this address can look; there is no password", err=True)
    lines = serve(runs, host=host, port=port, trust=trust)
    try:
        typer.echo(f"{next(lines)} shows {', '.join(map(str, runs))}; Ctrl-C ends it")
        for line in lines:
            typer.echo(line, err=True)
    except KeyboardInterrupt:
        pass


def mirror(
    run: RunFolder,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the run's own words; write the storage of its run.toml."),
    ] = False,
) -> None:
    """Make the mirror of a run anew: the Optuna study of its record, for other dashboards.

    Example: nas-fpn mirror runs/quickstart
    """
    from nas_fpn.report.mirrors import journal_of, rebuild
    from nas_fpn.run import read_run

    storage = read_run(run).settings.report.storage
    if storage and not trust:
        raise RunError(
            f"{run / 'run.toml'}: [report] storage names a database, {storage}\n"
            "if you know who wrote this, --trust writes there"
        )
    count = rebuild(run, storage=storage, trust=trust)
    where = storage or str(journal_of(run))
    typer.echo(f"{where} is written: {count} trial{'' if count == 1 else 's'}")
