"""Drawings of necks as artifacts of a dashboard: by an id made of the program, each kept once.

A folder keeps files for ``optuna-dashboard --artifact-dir``; our own dashboard draws when asked.
"""

import io
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from nas_fpn.errors import SpaceError
from nas_fpn.language import Words, parse
from nas_fpn.language.draw import draw

__all__ = ["Drawings", "DrawnFiles", "DrawnOnDemand", "drawing_id"]


class Drawings(Protocol):
    """Where the drawings of a run are."""

    def keep(self, text: str, words: Words) -> str | None:
        """The id under which the program's drawing is found; None if it cannot be drawn."""


def drawing_id(text: str) -> str:
    """The id of a program's drawing: hexadecimal digits."""
    return sha256(text.encode()).hexdigest()[:32]


class DrawnFiles:
    """Drawings as files of a folder, which is made with the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, text: str, words: Words) -> str | None:
        """Draw the program, unless its file is there."""
        identity = drawing_id(text)
        path = self._folder / identity
        if path.is_file():
            return identity
        try:
            picture = draw(parse(text, words=words))
        except SpaceError:  # a word of it is not at hand
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{identity}.part")
        beside.unlink(missing_ok=True)  # its name can be known, so that it may be a link
        with beside.open("x", encoding="utf-8") as file:
            file.write(picture)
        beside.replace(path)
        return identity


class DrawnOnDemand:
    """Drawings made when somebody looks: an artifact store of Optuna that only reads."""

    def __init__(self) -> None:
        self._programs: dict[str, tuple[str, Words]] = {}
        self._draw = lru_cache(maxsize=1024)(self._drawn)

    def keep(self, text: str, words: Words) -> str | None:
        """Remember the program."""
        identity = drawing_id(text)
        try:
            if identity not in self._programs:
                parse(text, words=words)
        except SpaceError:
            return None
        self._programs[identity] = (text, words)
        return identity

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The drawing as a file. Raises KeyError for an unknown id."""
        return io.BytesIO(self._draw(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Raises PermissionError: nothing is uploaded here."""
        raise PermissionError(f"{artifact_id}: the dashboard of a run shows, it keeps nothing")

    def remove(self, artifact_id: str) -> None:
        """Raises PermissionError, likewise."""
        raise PermissionError(f"{artifact_id}: the dashboard of a run shows, it keeps nothing")

    def _drawn(self, identity: str) -> bytes:
        text, words = self._programs[identity]
        return draw(parse(text, words=words)).encode()
