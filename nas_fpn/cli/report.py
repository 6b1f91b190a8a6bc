"""The verb report: one HTML file that tells the story of one or several runs."""

from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Trust

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; the first leads.")],
    to: Annotated[
        Path | None, typer.Option(help="The file; default: report.html in the first folder.")
    ] = None,
    trust: Trust = False,
) -> None:
    """Write a page with verdict, plots, drawings and every trial; it needs no network.

    Example: nas-fpn report runs/quickstart
    """
    from nas_fpn.report import open_run, report_html
    from nas_fpn.strange import inside

    page = report_html([open_run(run, trust=trust) for run in runs])
    path = to if to is not None else inside(runs[0], "report.html")
    path.write_text(page, encoding="utf-8", newline="\n")
    typer.echo(f"{path} is written, {len(page.encode()) / 1e6:.1f} MB")
