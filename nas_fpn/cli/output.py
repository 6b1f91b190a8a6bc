"""What verbs print: JSON for programs, messages for people, a run as it goes."""

import json
import time
from collections.abc import Iterable
from typing import Any

import typer

__all__ = ["complain", "display", "print_json"]


def print_json(value: object) -> None:
    """Print a value for a program to read."""
    typer.echo(json.dumps(value, indent=2))


def complain(message: object) -> int:
    """Print a message on stderr; returns the exit code of wrong input."""
    typer.echo(str(message), err=True)
    return 2


def display(events: Iterable[Any], watch: Any) -> None:
    """Lines on any output; on a terminal a bar below them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(watch.stage, total=None)
        for event in events:
            line = watch.see(event, now=time.monotonic())
            if line is not None:
                console.print(line, markup=False)
            bar.update(task, description=watch.stage, completed=watch.done, total=watch.total)
