"""A run folder as the report reads it: its record, and what belongs to it if it is unchanged.

The record alone is enough. The space gives the choices their names and own words are needed to
draw the necks that use them: both are taken only where their hashes are those on record. Own words
are code, which a hash in a record does not make harmless: they are run for those who trust the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas_fpn.errors import RunError, SpaceError, command_line
from nas_fpn.language import SHIPPED, Space, Words, explain, find_space, load_words, read
from nas_fpn.language.files import shipped_folder
from nas_fpn.record import Entry, History, read_history
from nas_fpn.strange import bounded, decoded, inside

__all__ = ["Exported", "Opened", "member", "no_record", "open_run"]


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
        return self.history.header

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


def no_record(folder: Path) -> RunError:
    """What to say of a folder without a record: a run that has not begun, or no run at all."""
    if not (folder / "run.toml").is_file():
        return RunError(
            f"{folder}: no run: it has neither a history.jsonl nor a run.toml\n"
            f"name the folder of a run, or write one with: {command_line('init', folder)}"
        )
    return RunError(
        f"{folder / 'history.jsonl'}: no such file: this run has not begun\n"
        f"begin it with: {command_line('search', folder)}\n"
        "one that was begun just now has its record once backbone and features are there"
    )


def open_run(folder: Path, *, trust: bool = False) -> Opened:
    """Read a run folder. Raises RunError where there is no record, or a malformed one.

    Only with ``trust`` are its own words run, and is a space read that lies outside of the folder.
    """
    path = inside(folder, "history.jsonl")
    if not path.is_file():
        raise no_record(folder)
    bare = Opened(folder.resolve().name, read_history(path))
    missing: list[str] = []
    words = _words(folder, bare, missing, trust=trust)
    space = None if words is None else _space(folder, bare, words, missing, trust=trust)
    return Opened(
        bare.name,
        bare.history if space is None else _members(bare.history, space, missing),
        words or SHIPPED,
        space,
        dict(_exports(folder, bare)),
        tuple(missing),
    )


def _words(folder: Path, run: Opened, missing: list[str], *, trust: bool) -> Words | None:
    """The run's words, or None where its own are not those on record, or nobody trusts them."""
    hashes: Mapping[str, str] = run.header.get("words", {})
    if hashes and not trust:
        missing.append(
            f"{', '.join(hashes)}: own words are code, which only --trust runs: necks that use "
            "them are not drawn, and choices have no names"
        )
        return None
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != expected:
            missing.append(
                f"{name} is not the file of own words that the run was made with: "
                "necks that use them are not drawn, and choices have no names"
            )
            return None
    return load_words([folder / name for name in hashes])


def _space(
    folder: Path, run: Opened, words: Words, missing: list[str], *, trust: bool
) -> Space | None:
    name = str(run.settings.get("space", "quick"))
    of_its_own = name.endswith((".space", ".neck"))
    try:
        path = find_space(folder / name if of_its_own else name)
        if not trust:
            inside(folder if of_its_own else shipped_folder("search_spaces"), path.resolve())
        if sha256(bounded(path)).hexdigest() == run.header.get("space"):
            return read(path, words=words)
    except RunError:
        missing.append(
            f"the space {name} lies outside of the run's folder, where only --trust reads it: "
            "choices have no names"
        )
        return None
    except (SpaceError, OSError, ValueError):
        missing.append(f"the space {name} is not there any more: choices have no names")
        return None
    missing.append(f"the space {name} has changed since the run began: choices have no names")
    return None


def _members(history: History, space: Space, missing: list[str]) -> History:
    """The history; a genotype that the space does not have is none."""
    entries = tuple(member(entry, space) for entry in history.entries)
    lost = sum(one is not other for one, other in zip(entries, history.entries, strict=True))
    if lost:
        missing.append(f"{lost} genotypes are none of this space: those choices have no names")
    return replace(history, entries=entries)


def member(entry: Entry, space: Space) -> Entry:
    """The entry; without its genotype where the space has no such member."""
    if entry.genotype is None:
        return entry
    try:
        explain(space, entry.genotype)
    except SpaceError:
        return replace(entry, genotype=None)
    return entry


def _exports(run_folder: Path, run: Opened) -> list[tuple[int, Exported]]:
    """Each exported neck whose folder says which trial of this record it is."""
    found = []
    best = inside(run_folder, "best")
    folders = [best, *(one for one in sorted(best.glob("*")) if one.is_dir())]
    for folder in folders:
        mark, source, drawing = (
            inside(run_folder, folder.relative_to(run_folder) / name)
            for name in ("trial.json", "neck.py", "neck.svg")
        )
        if not (mark.is_file() and source.is_file()):
            continue
        number = _trial(mark, run)
        if number is not None:
            drawn = _text(drawing) if drawing.is_file() else None
            found.append((number, Exported(_text(source), drawn)))
    return found


def _trial(mark: Path, run: Opened) -> int | None:
    """The number of the trial that a ``trial.json`` names, if this record holds that very one."""
    try:
        told = decoded(bounded(mark))
    except ValueError as fault:
        raise RunError(f"{mark}: {fault}\ndelete {mark.parent}, and export again") from None
    number = told.get("trial") if isinstance(told, dict) else None
    entries = {entry.number: entry for entry in run.history.entries}
    entry = entries.get(number) if isinstance(number, int) else None
    return number if entry is not None and entry.neck == told.get("neck") else None


def _text(path: Path) -> str:
    return bounded(path).decode(errors="replace")
