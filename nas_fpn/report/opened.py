"""A run folder as the report reads it: its record, and what belongs to it if it is unchanged.

The record alone is enough. The space gives the choices their names and own words are needed to
draw the necks that use them: both are taken only where their hashes are those on record.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import SHIPPED, Space, Words, find_space, load_words, read
from nas_fpn.record import History, read_history

__all__ = ["Exported", "Opened", "open_run"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What stands in an exported folder: ``neck.py``, and ``neck.svg`` with trained weights."""

    source: str
    drawing: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """One run. ``space`` is None where it is not the one on record, ``missing`` says why.

    ``exports`` are by trial, as far as the run has exported any.
    """

    name: str
    history: History
    words: Words = SHIPPED
    space: Space | None = None
    exports: Mapping[int, Exported] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def header(self) -> Mapping[str, Any]:
        """The facts of the run: its first line, or the last that went on from a drift."""
        drifts = [event["header"] for event in self.history.events if event["event"] == "drift"]
        first: list[Mapping[str, Any]] = [*self.history.events[:1], *drifts]
        return first[-1] if first else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The ``run.toml`` on record."""
        settings: Mapping[str, Any] = self.header.get("settings", {})
        return settings

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the run was asked for, the first first; a cost has a minus."""
        asked = self.settings.get("objective", "ap")
        return (asked,) if isinstance(asked, str) else tuple(asked)

    @property
    def trials_wanted(self) -> int | None:
        """The budget that was asked for last, baselines aside."""
        budgets = [e["trials"] for e in self.history.events if e["event"] == "budget"]
        wanted: int | None = [self.settings.get("budget", {}).get("trials"), *budgets][-1]
        return wanted


def open_run(folder: Path) -> Opened:
    """Read a run folder. Raises RunError where there is no record, or a malformed one."""
    path = folder / "history.jsonl"
    if not path.is_file():
        raise RunError(f"{path}: no such file\nrun it with: nas-fpn search {folder}")
    bare = Opened(folder.resolve().name, read_history(path))
    missing: list[str] = []
    words = _words(folder, bare, missing)
    return Opened(
        bare.name,
        bare.history,
        words or SHIPPED,
        None if words is None else _space(folder, bare, words, missing),
        dict(_exports(folder / "best", bare)),
        tuple(missing),
    )


def _words(folder: Path, run: Opened, missing: list[str]) -> Words | None:
    """The run's words, or None where its own are not those on record."""
    hashes: Mapping[str, str] = run.header.get("words", {})
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != expected:
            missing.append(
                f"{name} is not the file of own words that the run was made with: "
                "necks that use them are not drawn, and choices have no names"
            )
            return None
    return load_words([folder / name for name in hashes])


def _space(folder: Path, run: Opened, words: Words, missing: list[str]) -> Space | None:
    name = str(run.settings.get("space", "quick"))
    try:
        path = find_space(folder / name if name.endswith((".space", ".neck")) else name)
        if sha256(path.read_bytes()).hexdigest() == run.header.get("space"):
            return read(path, words=words)
    except (SpaceError, OSError):
        missing.append(f"the space {name} is not there any more: choices have no names")
        return None
    missing.append(f"the space {name} has changed since the run began: choices have no names")
    return None


def _exports(best: Path, run: Opened) -> list[tuple[int, Exported]]:
    """Each exported neck whose folder says which trial of this record it is."""
    found = []
    folders = [best, *(one for one in sorted(best.glob("*")) if one.is_dir())]
    for folder in folders:
        mark, source = folder / "trial.json", folder / "neck.py"
        if not (mark.is_file() and source.is_file()):
            continue
        number = _trial(mark.read_text(encoding="utf-8"), run)
        if number is not None:
            drawing = folder / "neck.svg"
            drawn = drawing.read_text(encoding="utf-8") if drawing.is_file() else None
            found.append((number, Exported(source.read_text(encoding="utf-8"), drawn)))
    return found


def _trial(mark: str, run: Opened) -> int | None:
    """The number of the trial that a ``trial.json`` names, if this record holds that very one."""
    told = json.loads(mark)
    entries = {entry.number: entry for entry in run.history.entries}
    entry = entries.get(told.get("trial"))
    same = entry is not None and entry.neck == told.get("neck")
    return entry.number if entry is not None and same else None
