"""All verbs, in the order of the help; and the way in, where a wrong input becomes a message."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from nas_fpn.cli.calibrate import calibrate
from nas_fpn.cli.confirm import confirm
from nas_fpn.cli.data import data_check, data_convert, data_shapes
from nas_fpn.cli.diff import diff
from nas_fpn.cli.explain import explain
from nas_fpn.cli.export import export
from nas_fpn.cli.import_ import import_
from nas_fpn.cli.live import dashboard, mirror
from nas_fpn.cli.output import complain
from nas_fpn.cli.plan import plan
from nas_fpn.cli.predict import predict
from nas_fpn.cli.report import report
from nas_fpn.cli.runs import init, search, table
from nas_fpn.cli.simulate import simulate
from nas_fpn.cli.spaces import check, necks, sample, show, size
from nas_fpn.cli.submit import fetch, job, status, stop, submit
from nas_fpn.cli.train import train
from nas_fpn.cli.watch import watch
from nas_fpn.errors import DataError, RunError, SpaceError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Find the right feature-pyramid neck for your own detector and data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"nas-fpn {version('nas-fpn')}")
    except PackageNotFoundError:
        typer.echo("nas-fpn, a checkout that is not installed")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say it, and end."),
    ] = False,
) -> None:
    pass


for _verb in (
    size,
    sample,
    check,
    show,
    diff,
    necks,
    init,
    calibrate,
    plan,
    search,
    confirm,
    explain,
    watch,
    table,
    report,
    dashboard,
    mirror,
    simulate,
    export,
    import_,
    train,
    predict,
    submit,
    status,
    stop,
    fetch,
    job,
):
    _name = _verb.__name__.removesuffix("_")  # `import` is no name in Python
    app.command(_name, hidden=_verb is job)(_verb)

_data = typer.Typer(help="Data: write the embedded scenes, check a COCO file, convert others.")
_data.command("shapes")(data_shapes)
_data.command("check")(data_check)
_data.command("convert")(data_convert)
app.add_typer(_data, name="data")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; a wrong input is a message, never a traceback."""
    sys.set_int_max_str_digits(0)  # a size is exact, however large: 64 KiB of holes bound it
    try:
        app(args=None if arguments is None else list(arguments), prog_name="nas-fpn")
    except (SpaceError, DataError, RunError) as fault:
        sys.exit(complain(fault))
    except OSError as fault:
        if fault.filename is None:
            raise
        sys.exit(complain(f"{fault.filename}: {fault.strerror}"))
