"""A run becomes a job of a cluster: packed, sent, found again; and the same run placed over there.

``submit`` speaks to a cluster through :class:`nas_fpn.folder.Cluster`. ``place`` is what the job
does first, on the cluster: it puts the run where its answers are to stand, so that the next job of
the same run goes on there.
"""

import hashlib
import re
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_fpn.errors import RunError, command_line
from nas_fpn.folder import (
    FILE,
    Cluster,
    Submitted,
    answers_here,
    continued,
    read_submitted,
    write_submitted,
)
from nas_fpn.run.package import INPUTS, MANIFEST, Package, collect, write_archive
from nas_fpn.run.settings import Run
from nas_fpn.strange import bounded, decoded, inside

__all__ = ["STORAGE", "Asked", "Placed", "place", "submit_run"]

STORAGE = "~/nas_fpn"  # of a cluster, where runs stand unless one says otherwise
ENTRYPOINT = "python -m nas_fpn.cli job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a run is to be searched on a cluster.

    ``storage`` is a folder of the cluster, which all its nodes share if there are several.
    ``workers``, ``trials`` and ``minutes`` are as for ``nas-fpn search``; ``confirm`` confirms
    what was found. ``cpus`` and ``gpus`` are what the driver itself takes, which makes the bank.
    ``program`` sends this package along.
    """

    storage: str = ""
    workers: int | str | None = None
    trials: str | None = None
    minutes: str | None = None
    confirm: bool = False
    cpus: float = 0.0
    gpus: float = 0.0
    program: bool = True
    also: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """A run where it stands on the cluster, and what its job is to do."""

    folder: Path
    inputs: Path
    workers: int | str | None
    trials: str | None
    minutes: str | None
    confirm: bool


def submit_run(run: Run, cluster: Cluster, asked: Asked) -> tuple[Submitted, Package, int]:
    """Send a run to a cluster; the job, what went along, and the bytes that were sent.

    A run that was submitted before goes on where it stands there. Raises :class:`RunError` where
    its last job has not ended, files are missing, or too much would go along.
    """
    before = _before(run, cluster)
    storage = asked.storage or (before.storage if before else STORAGE)
    key = before.key if before else f"{_simple(run.folder.name)}-{uuid.uuid4().hex[:8]}"
    package = collect(run, asked.also)
    manifest = {
        "key": key,
        "storage": storage,
        "run": package.run,
        "workers": asked.workers,
        "trials": asked.trials,
        "minutes": asked.minutes,
        "confirm": asked.confirm,
    }
    known = answers_here(run.folder)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "job.zip"
        sent = write_archive(archive, package.files, manifest, program=asked.program)
        job = cluster.start(
            ENTRYPOINT,
            archive=archive,
            cpus=asked.cpus,
            gpus=asked.gpus,
            metadata={"nas_fpn": run.folder.name, "key": key},
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    stands = f"{storage.rstrip('/')}/{key}/{package.run}"
    submitted = Submitted(cluster.address, job, key, storage, stands, since, known)
    write_submitted(run.folder, submitted)
    return submitted, package, sent


def place(here: Path) -> Placed:
    """In the job: put the run that was sent, in ``here``, where it is to stand on the cluster.

    Its files replace those of an earlier job; of two records the longer one stays. Raises
    :class:`RunError` where the records are not of one search.
    """
    manifest: Mapping[str, Any] = decoded(bounded(here / MANIFEST))
    storage = Path(manifest["storage"]).expanduser()
    if not storage.is_absolute():
        raise RunError(
            f"--storage {manifest['storage']}: should be a folder of the cluster, an absolute path "
            "or one that begins with ~"
        )
    top = storage / manifest["key"]
    for name, digest in manifest["files"].items():
        content = (here / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError(f"{name}: arrived damaged on the cluster\nsubmit the run again")
        path = inside(top, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == f"{manifest['run']}/history.jsonl" and path.is_file():
            there = path.read_bytes()
            match continued(content, there):
                case "apart":
                    raise RunError(
                        f"{path}: this record, on the cluster, and the one that was sent are not "
                        "of one search\nto go on with this one, move yours away and fetch; with "
                        f"yours, delete {FILE} beside run.toml, and it begins at a new place"
                    )
                case "second" | "same":
                    continue
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
    folder = inside(top, manifest["run"])
    asked = {key: manifest[key] for key in ("workers", "trials", "minutes", "confirm")}
    return Placed(folder, top / INPUTS, **asked)


def _before(run: Run, cluster: Cluster) -> Submitted | None:
    """The job before, if it was sent to this cluster; it has ended."""
    if not (run.folder / FILE).is_file():
        return None
    before = read_submitted(run.folder)
    if before.address != cluster.address:
        return None
    seen = cluster.look(before.job)
    if seen is not None and not seen.over:
        raise RunError(
            f"{run.folder}: job {before.job} is {seen.state} there already\n"
            f"{command_line('status', run.folder)} shows it, "
            f"{command_line('stop', run.folder)} ends it"
        )
    return before


def _simple(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:40].strip(".-") or "run"
