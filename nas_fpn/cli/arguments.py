"""What several verbs are given: JSON or not, spaces, necks and runs by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_fpn.errors import RunError

__all__ = [
    "Json",
    "Minutes",
    "NeckName",
    "OwnWords",
    "RunFolder",
    "SpaceName",
    "Trials",
    "Trust",
    "Workers",
    "neck_of",
    "run_of",
    "space_of",
    "workers_of",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
SpaceName = Annotated[str, typer.Argument(help="A shipped name, or a .space or .neck file.")]
NeckName = Annotated[str, typer.Argument(help="A shipped name, a .neck file, RUN or RUN:TRIAL.")]
OwnWords = Annotated[
    list[Path] | None, typer.Option("--words", help="A Python file of own words, which is run.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the own words of a run: code of whoever made the run."),
]
Trials = Annotated[
    str | None, typer.Option(help="A new budget: 80 in all, or +100 for as many more.")
]
Minutes = Annotated[str | None, typer.Option(help="Time: 90 in all, or +30 for as many more.")]
Workers = Annotated[
    str | None, typer.Option(help='Instead of workers in [ray]: a number, or "auto".')
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.toml.")]


def neck_of(name: str, words: Sequence[Path] | None = None, *, trust: bool = False) -> Any:
    """The architecture that a name, a file, RUN or RUN:TRIAL means; a run has its own words."""
    from nas_fpn import language

    run = run_of(name)
    if run is None:
        return language.read_neck(language.find_neck(name), words=language.load_words(words or ()))
    if words:
        raise RunError(f"--words is for a neck without a run; {run[0]} has its own\nomit it")
    from nas_fpn.run import neck_text, read_run, words_for

    asked = read_run(run[0])
    text = neck_text(asked, run[1])
    return language.parse(text, words=words_for(asked, [text], trust=trust))


def space_of(name: str, words: Sequence[Path] | None = None) -> Any:
    """The file and the space that a name means, None where it means a neck or a run."""
    from nas_fpn import language
    from nas_fpn.language.files import shipped_folder

    neck = shipped_folder("search_spaces") / "baselines" / f"{name}.neck"
    if run_of(name) is not None or neck.is_file():
        return None
    path = language.find_space(name)
    if path.suffix == ".neck":
        return None
    space = language.read(path, words=language.load_words(words or ()))
    return (path, space) if space.has_holes else None


def run_of(name: str) -> tuple[Path, int | None] | None:
    """A run's folder and the number of a trial (None: the best), if the name means one."""
    folder, colon, number = name.rpartition(":")
    if colon and number.isdecimal():
        return Path(folder), int(number)
    return (Path(name), None) if (Path(name) / "run.toml").is_file() else None


def workers_of(text: str | None) -> int | str | None:
    """How many trials at a time ``--workers`` says."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal():
        raise RunError(f'--workers = {text!r}: should be "auto", or a number of trials from 0')
    return int(text)
