"""What several verbs are given: JSON or not, spaces, necks and runs by name."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Json", "NeckName", "RunFolder", "SpaceName", "neck_of", "run_of"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
SpaceName = Annotated[str, typer.Argument(help="A shipped name, or a .space or .neck file.")]
NeckName = Annotated[str, typer.Argument(help="A shipped name, a .neck file, RUN or RUN:TRIAL.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.toml.")]


def neck_of(name: str) -> Any:
    """The architecture that a name, a file, RUN or RUN:TRIAL means."""
    from nas_fpn import language

    run = run_of(name)
    if run is None:
        return language.read_neck(language.find_neck(name))
    from nas_fpn.run import read_run, trial_entry

    return language.parse(trial_entry(read_run(run[0]), run[1]).text)


def run_of(name: str) -> tuple[Path, int | None] | None:
    """A run's folder and the number of a trial (None: the best), if the name means one."""
    folder, colon, number = name.rpartition(":")
    if colon and number.isdecimal():
        return Path(folder), int(number)
    return (Path(name), None) if (Path(name) / "run.toml").is_file() else None
