"""What a run folder knows of the job that searches it elsewhere: ``submitted.json``.

Written by ``nas-fpn submit``, so that ``status``, ``stop`` and ``fetch`` need the folder alone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas_fpn.errors import RunError, command_line
from nas_fpn.strange import bounded, decoded, inside

__all__ = ["ANSWERS", "FILE", "Submitted", "answers_here", "read_submitted", "write_submitted"]

FILE = "submitted.json"
VERSION = 1
ANSWERS = ("history.jsonl", "code", "best", "confirm")  # of a run folder, what comes home


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job, and where the run stands on its cluster.

    ``folder`` is the run's on the cluster, below ``key`` in a folder ``storage`` that may begin
    with ~. ``known`` are the SHA-256 of the answers as they were here when the job was submitted,
    or as they came home; a file that has another one is somebody's work and is kept.
    """

    address: str
    job: str
    key: str
    storage: str
    folder: str
    since: str
    known: Mapping[str, str] = field(default_factory=dict)


def read_submitted(run: Path) -> Submitted:
    """The last job of a run. Raises :class:`RunError` where there is none, or the file is wrong."""
    path = inside(run, FILE)
    try:
        told = decoded(bounded(path))
    except FileNotFoundError:
        raise RunError(
            f"{path}: no such file: this run was not submitted from here\n"
            + command_line("submit", run, "--address", "http://HEAD:8265")
        ) from None
    except ValueError as fault:
        raise RunError(f"{path}: {fault}\ndelete it, and submit the run again") from None
    try:
        return _checked(told)
    except (KeyError, TypeError, ValueError) as fault:
        raise RunError(f"{path}: {fault}\ndelete it, and submit the run again") from None


def write_submitted(run: Path, submitted: Submitted) -> None:
    """Keep it, whole or not at all."""
    path = inside(run, FILE)
    part = path.with_name(f"{FILE}.part")
    told = {"version": VERSION, **asdict(submitted)}
    part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def answers_here(run: Path) -> dict[str, str]:
    """The SHA-256 of each answer that lies in a run folder, by name."""
    found = {}
    for name in ANSWERS:
        top = inside(run, name)
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[path.relative_to(run).as_posix()] = digest
    return found


def _checked(told: Any) -> Submitted:
    if told["version"] != VERSION:
        raise ValueError(f"version {told['version']}, and this program reads {VERSION}")
    names = ("address", "job", "key", "storage", "folder", "since")
    for name, value in {**{name: told[name] for name in names}, **told["known"]}.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a text, but got {value!r}")
    return Submitted(**{name: told[name] for name in names}, known=told["known"])
