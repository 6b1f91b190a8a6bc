"""Python text that a formatter leaves as it is: what fits stays on a line, the rest is opened."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["WIDTH", "Group", "Piece", "comment", "inline", "lay_out"]

WIDTH = 100  # columns


@dataclass(frozen=True, slots=True)
class Group:
    """Items between brackets; ``head`` (``"Cell("``, ``"via=("``, ``"("``) opens them."""

    head: str
    items: "tuple[Piece, ...]"


Piece = str | Group


def inline(piece: Piece) -> str:
    """A piece on one line."""
    if isinstance(piece, str):
        return piece
    items = ", ".join(map(inline, piece.items))
    return f"{piece.head}{items}{',' if _is_tuple(piece) and len(piece.items) == 1 else ''})"


def lay_out(prefix: str, piece: Piece, *, indent: int, suffix: str = "") -> Iterator[str]:
    """``prefix + piece + suffix``; a long call has its arguments on a line, or on one each."""
    space = " " * indent
    line = f"{space}{prefix}{inline(piece)}{suffix}"
    if len(line) <= WIDTH or isinstance(piece, str):
        yield line
        return
    yield f"{space}{prefix}{piece.head}"
    row = f"{space}    {', '.join(map(inline, piece.items))}"
    if len(row) <= WIDTH and not _is_tuple(piece):
        yield row
    else:
        for item in piece.items:
            yield from lay_out("", item, indent=indent + 4, suffix=",")
    yield f"{space}){suffix}"


def comment(text: str, *, indent: int) -> list[str]:
    """A comment in as many lines as it takes."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent + "# ",
        subsequent_indent=" " * indent + "#     ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _is_tuple(piece: Group) -> bool:
    return piece.head == "(" or piece.head.endswith("=(")
