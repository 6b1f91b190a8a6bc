"""Where the mirror of a run is: a journal in its folder, or a study in a database for a team."""

import platform
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from optuna.storages import BaseStorage

from nas_fpn.record import Record
from nas_fpn.report.drawings import DrawnFiles
from nas_fpn.report.mirror import Mirror
from nas_fpn.report.opened import Opened, no_record, open_run
from nas_fpn.report.optuna_store import delete_study, find_study, journal, open_url
from nas_fpn.strange import inside

__all__ = ["drawings_of", "journal_of", "mirror_of", "rebuild", "written"]

SQLITE = "sqlite:///"


def journal_of(folder: Path) -> Path:
    """The journal of a run's mirror."""
    return inside(folder, "mirror/study.journal")


def drawings_of(folder: Path) -> Path:
    """The folder of its drawings, an artifact store of Optuna."""
    return inside(folder, "mirror/drawings")


def written(folder: Path) -> datetime:
    """When the record of a run was last written."""
    return datetime.fromtimestamp((folder / "history.jsonl").stat().st_mtime)


def mirror_of(folder: Path, *, storage: str = "", trust: bool = False) -> Mirror:
    """The mirror of a run, brought up to its record; a journal that is broken is made anew.

    ``storage`` is the URL of a database, or "" for the journal; ``trust`` runs the run's own words.
    Only one process may write: the one that searches.
    """
    run = open_run(folder, trust=trust)
    if storage:
        return _mirror(open_url(_resolved(storage, folder)), run, folder, _shared_name(run, folder))
    path = journal_of(folder)
    path.parent.mkdir(exist_ok=True)
    if path.is_file() and path.read_bytes()[-1:] == b"\n":
        try:
            return _mirror(journal(path), run, folder, run.name)
        except (KeyError, TypeError, ValueError):  # lines that no writer of ours leaves
            pass
    return _anew(path, run, folder)


def rebuild(folder: Path, *, storage: str = "", trust: bool = False) -> int:
    """Make the mirror again from the record; returns its number of trials.

    The journal is written beside the old one, then moved in its place; in a database the study is
    taken out first. Raises RunError where there is no record, or while a search writes it.
    """
    path = inside(folder, "history.jsonl")
    if not path.is_file():
        raise no_record(folder)
    inside(folder, "history.lock")
    with Record(path):  # a search has it open: it writes the mirror itself
        run = open_run(folder, trust=trust)
        if storage:
            database, name = open_url(_resolved(storage, folder)), _shared_name(run, folder)
            if (found := find_study(database, name)) is not None:
                delete_study(found[0])
            _mirror(database, run, folder, name)
        else:
            journal_of(folder).parent.mkdir(exist_ok=True)
            _anew(journal_of(folder), run, folder)
    return len(run.history.entries)


def _anew(path: Path, run: Opened, folder: Path) -> Mirror:
    beside = path.with_suffix(".part")
    for old in (beside, *path.parent.glob("*.lock*")):
        old.unlink(missing_ok=True)
    _mirror(journal(beside), run, folder, run.name)
    beside.replace(path)
    return _mirror(journal(path), run, folder, run.name)


def _mirror(storage: BaseStorage, run: Opened, folder: Path, name: str) -> Mirror:
    drawings = DrawnFiles(drawings_of(folder))
    return Mirror(storage, run, drawings=drawings, name=name, written=written(folder))


def _shared_name(run: Opened, folder: Path) -> str:
    """The name of a run among those of a team: it tells folders and machines apart."""
    place = f"{platform.node()}:{folder.resolve()}"
    return f"{run.name} {sha256(place.encode()).hexdigest()[:8]}"


def _resolved(url: str, folder: Path) -> str:
    """A relative path of SQLite is relative to the run's folder, as all paths of ``run.toml``."""
    path = url.removeprefix(SQLITE)
    relative = url.startswith(SQLITE) and not path.startswith(("/", ":"))
    return f"{SQLITE}{folder.resolve() / path}" if relative else url
