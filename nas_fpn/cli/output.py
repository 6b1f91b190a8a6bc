"""What verbs print: JSON for programs, messages for people, a run as it goes.

Names come from files and errors from libraries: what is no printable character is shown as its
escape, so that nothing of them acts on the terminal, and none is read as markup.
"""

import json
import math
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from shutil import get_terminal_size
from typing import Any

import typer

__all__ = ["complain", "display", "inert", "print_json", "say", "say_prose", "show_once"]

REDRAWN = 0.1  # seconds between two drawings of the table, unless a line is printed
REST = 9  # times as long as a drawing took, if that is more: long searches are not held up


def print_json(value: object) -> None:
    """Print a value for a program to read."""
    typer.echo(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print a text that may hold what others wrote."""
    typer.echo(inert(text))


def say_prose(text: str) -> None:
    """Print a text whose lines end between words in a terminal that is narrower than they are."""
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    say(text if width is None else "\n".join(_folded(line, width) for line in text.split("\n")))


def _folded(line: str, width: int) -> str:
    """The line, from its second row on as far in as it begins; rows of tables keep their gaps."""
    if len(line) <= width:
        return line
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * (len(line) - len(line.lstrip())),
        break_on_hyphens=False,
        break_long_words=False,
    )


def complain(message: object) -> int:
    """Print a message on stderr; returns the exit code of wrong input."""
    typer.echo(inert(str(message)), err=True)
    return 2


def inert(text: str) -> str:
    r"""The text with its control and format characters as escapes; line ends stay.

    >>> inert("a\x1b[31m b\u202e")
    'a\\x1b[31m b\\u202e'
    """
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text
    )


def display(
    events: Iterable[Any], watch: Any, *, written: Callable[[], float | None] | None = None
) -> None:
    """Lines on any output; on a terminal the table of the run below them.

    ``events`` may hold None, where nothing is new. ``written`` gives the seconds since the record
    was last written, of a run that another process searches.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not console.is_terminal:
        for event in events:
            line = None if event is None else watch.see(event, now=time.monotonic())
            if line is not None:
                say(line)
        return
    drawn, took = -math.inf, 0.0
    with Live(console=console, auto_refresh=False) as live:
        for event in events:
            now = time.monotonic()
            line = None if event is None else watch.see(event, now=now)
            if line is not None:
                console.print(inert(line), markup=False)
            if now - drawn < max(REDRAWN if line is None else 0.0, REST * took):
                continue
            ago = None if written is None else written()
            live.update(_panel(watch.look(now=now), ago), refresh=True)
            drawn = time.monotonic()
            took = drawn - now
        ago = None if written is None else written()
        live.update(_panel(watch.look(now=time.monotonic()), ago), refresh=True)


def show_once(look: Any, *, written: float | None) -> None:
    """The table of a run, drawn on a terminal, else a line for each fact."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_panel(look, written))
        return
    head = f"{look.name}: {look.stage}, {look.done} of {look.total}"
    say("\n".join([head, *(f"{label:15}{text}" for label, text in _rows(look, written))]))


def _rows(look: Any, written: float | None) -> list[tuple[str, str]]:
    from nas_fpn.run.look import duration, rows

    ago = [] if written is None else [("record", f"last written {duration(written)} ago")]
    return [*rows(look), *ago]


def _panel(look: Any, written: float | None) -> Any:
    """A look at a run as rich draws it: a bar, then a row for each fact."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1))
    stage = f"{look.name}: {look.stage}" if look.name else look.stage
    bar = ProgressBar(total=max(look.total, 1), completed=look.done, width=30)
    head.add_row(Text(inert(stage), style="bold"), bar, Text(f"{look.done}/{look.total}"))
    table = Table(box=SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _rows(look, written):
        table.add_row(Text(label), Text(inert(text)))
    return Group(head, table)
