"""What a translation gives, and what may be asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_fpn.errors import SpaceError

__all__ = ["Imported", "Options", "blocks", "call", "check_options", "names"]


@dataclass(frozen=True, slots=True)
class Imported:
    """A program, and what its origin says besides.

    ``text`` is the program. ``notes`` say what the origin has that the language has not, or what
    was taken for granted. ``reference`` is the table of ``export/references.py`` that names its
    published weights, None where there is none. ``in_channels`` are those of the levels read,
    finest first, where the origin says them.
    """

    text: str
    notes: tuple[str, ...] = ()
    reference: str | None = None
    in_channels: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a file may leave open: each is for some kinds of file, and an error with the others.

    ``finest`` is the level of the first input of mmdetection's and torchvision's necks;
    ``repeats`` and ``width`` are for bare block specs; ``scale`` is a row of an ultralytics file.
    """

    finest: int | None = None
    repeats: int | None = None
    width: int | None = None
    scale: str | None = None


def check_options(options: Options, allowed: Sequence[str], *, what: str, file: str) -> None:
    """Raise SpaceError for an option that says nothing about this kind of file."""
    for name in ("finest", "repeats", "width", "scale"):
        if getattr(options, name) is not None and name not in allowed:
            raise SpaceError(f"{file}: --{name} means nothing for {what}\nomit it")


def names(stem: str, first: int, last: int) -> str:
    """A range of names, in either direction.

    >>> names("p", 4, 3), names("c", 5, 5)
    ('p4..p3', 'c5')
    """
    return f"{stem}{first}" if first == last else f"{stem}{first}..{stem}{last}"


def blocks(*words: str) -> str:
    """The words that are there, behind an arrow; nothing where none is.

    >>> blocks("conv1", "", "relu"), blocks("")
    (' -> conv1 relu', '')
    """
    said = " ".join(word for word in words if word)
    return f" -> {said}" if said else ""


def call(word: str, **arguments: float | str | None) -> str:
    """A word with the arguments that are not None.

    >>> call("bn", eps=0.001, momentum=None)
    'bn[eps=0.001]'
    """
    said = [
        f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}"
        for name, value in arguments.items()
        if value is not None
    ]
    return f"{word}[{', '.join(said)}]" if said else word
