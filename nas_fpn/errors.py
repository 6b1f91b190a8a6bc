"""The exceptions of the project: what a person gets for wrong input.

Each message says where, what, and how to mend, with the value that was given.
"""

import shlex
from pathlib import Path

__all__ = ["DataError", "RunError", "SpaceError", "command_line"]


class SpaceError(ValueError):
    """A program in the neck language is wrong; the message quotes the line with a caret."""


class DataError(ValueError):
    """Images or annotations are wrong; the message names the file and the id."""


class RunError(ValueError):
    """A ``run.toml``, a controller or a ``history.jsonl`` is wrong; the message names the place."""


def command_line(verb: str, *words: str | Path) -> str:
    """A command to type as it stands: what a shell would take apart is quoted.

    >>> command_line("search", Path("my runs/first"))
    "nas-fpn search 'my runs/first'"
    """
    return shlex.join(["nas-fpn", verb, *map(str, words)])
