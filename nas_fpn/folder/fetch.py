"""The answers of a job come home: its record, the best neck, what was confirmed.

Ray's Jobs API gives a job's log and nothing else, so a small job on the cluster prints the files
(:mod:`nas_fpn.folder.send`), and each is held here against its length and SHA-256 before it is put
in its place, whole. A file here that neither was submitted nor came from there is never replaced.
"""

import base64
import hashlib
import json
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from nas_fpn.errors import RunError
from nas_fpn.folder import send
from nas_fpn.folder.cluster import Cluster
from nas_fpn.folder.submitted import ANSWERS, Submitted, answers_here, write_submitted
from nas_fpn.lock import Lock
from nas_fpn.strange import inside

__all__ = ["Brought", "continued", "fetch_run"]

AT_ONCE = 16 << 20  # bytes that one job prints
ROUNDS = 4096  # of them
TRIES = 5  # to read a run that changes
MOST_BYTES = 64 << 30
LOOK = 0.5  # seconds between two looks at a job
RECORD = "history.jsonl"
RUNNING = (RECORD, "code")  # what is whole while a search goes on


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of a file: "new", "updated", "same", "removed", or "kept" as it is here."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    size: int
    sha256: str


def fetch_run(
    folder: Path,
    submitted: Submitted,
    cluster: Cluster,
    *,
    running: bool = False,
    whole: bool = False,
    at_once: int = AT_ONCE,
    wait: Callable[[float], object] = time.sleep,
) -> Generator[tuple[int, int], None, tuple[Brought, ...]]:
    """Bring the answers of a job to the run's ``folder``; yield bytes that came, and of how many.

    Of one that is ``running`` only what is whole: the record and the code. ``whole`` brings the
    weights of all trainings of a confirm, which ``best/`` holds for its winner only. One job prints
    ``at_once`` bytes at most.

    Raises:
        RunError: where the cluster has no such run, it changed under way, something arrived
            damaged, a name leads out of the folder, or a search holds the run here.
    """
    here = answers_here(folder)
    request = {
        "folder": submitted.folder,
        "names": list(RUNNING if running else ANSWERS),
        "have": here,
        "whole": whole,
        "most": at_once,
    }
    with tempfile.TemporaryFile(dir=folder) as stream:
        files = yield from _received(submitted, cluster, stream, request, wait)
        with Lock(folder / "history.lock"):
            brought, known = _placed(folder, files, stream, here=here, known=submitted.known)
    if not running and not whole:
        brought += _removed(folder, files, here=here, known=submitted.known)
    write_submitted(folder, replace(submitted, known={**submitted.known, **known}))
    return tuple(brought)


def continued(first: bytes, second: bytes) -> str:
    r"""Which of two records goes on from the other: "first", "second", "same"; or they are "apart".

    >>> continued(b"1\n", b"1\n2\n")
    'second'
    """
    one, two = (record[: record.rfind(b"\n") + 1] for record in (first, second))
    if one == two:
        return "same"
    if two.startswith(one):
        return "second"
    return "first" if one.startswith(two) else "apart"


def _received(
    submitted: Submitted,
    cluster: Cluster,
    stream: BinaryIO,
    request: Mapping[str, Any],
    wait: Callable[[float], object],
) -> Generator[tuple[int, int], None, tuple[_File, ...]]:
    """The files of the run, with the bytes of those that we do not have in ``stream``."""
    first: tuple[_File, ...] | None = None
    begun = 0
    for _ in range(ROUNDS):
        got = stream.tell()
        log = _asked(cluster, {**request, "skip": got}, wait)
        files = _files(log, submitted)
        if first is not None and files != first:  # a search goes on: from the beginning
            begun += 1
            if begun == TRIES:
                break
            stream.seek(0)
            stream.truncate()
            first = None
            continue
        first = files
        total = sum(file.size for file in files if request["have"].get(file.name) != file.sha256)
        if total > MOST_BYTES:
            raise RunError(f"{submitted.folder}: {total >> 30} GiB are more than fetch brings")
        try:
            for row in log[1:]:
                stream.write(zlib.decompressobj().decompress(base64.b64decode(row), send.PIECE))
        except (ValueError, zlib.error):
            raise _damaged(submitted) from None
        yield stream.tell(), total
        if stream.tell() >= total:
            return files
        if stream.tell() == got:
            raise _damaged(submitted)
    raise RunError(f"{submitted.folder}: changes while it is read; fetch it when it has ended")


def _damaged(submitted: Submitted) -> RunError:
    return RunError(f"{submitted.folder}: its files arrive damaged\nfetch it again")


def _asked(
    cluster: Cluster, request: Mapping[str, Any], wait: Callable[[float], object]
) -> list[str]:
    """The marked lines of a job that answers a request."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "fetch.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("send.py", Path(send.__file__).read_bytes())
            file.writestr(send.REQUEST, json.dumps(request))
        job = cluster.start("python send.py", archive=archive, metadata={"nas_fpn": "fetch"})
    while (seen := cluster.look(job)) is not None and not seen.over:
        wait(LOOK)
    log = cluster.log(job)
    rows = [row.removeprefix(send.MARK) for row in log.splitlines() if row.startswith(send.MARK)]
    if seen is None or seen.state != "SUCCEEDED" or not rows:
        last = next((row for row in reversed(log.splitlines()) if row.strip()), "")
        what = "unknown" if seen is None else f"{seen.state}: {seen.message or last}"
        raise RunError(f"{cluster.address}: the job that reads the answers is {what}\n{last}")
    return rows


def _files(log: Sequence[str], submitted: Submitted) -> tuple[_File, ...]:
    try:
        told = json.loads(log[0])
    except ValueError:
        raise _damaged(submitted) from None
    if told.get("missing"):
        raise RunError(
            f"{submitted.folder}: no such folder on {told['host']}, where the cluster's jobs run\n"
            "the run has not begun yet, or its head was replaced; a --storage that all nodes "
            "share outlives a head"
        )
    return tuple(_File(str(f["name"]), int(f["size"]), str(f["sha256"])) for f in told["files"])


def _placed(
    folder: Path,
    files: Sequence[_File],
    stream: BinaryIO,
    *,
    here: Mapping[str, str],
    known: Mapping[str, str],
) -> tuple[list[Brought], dict[str, str]]:
    """Put files in their places, the record first; what became of each, and what is known now."""
    begins, at = {}, 0
    for file in files:
        if here.get(file.name) != file.sha256:
            begins[file.name] = at
            at += file.size
    brought: list[Brought] = []
    settled: dict[str, str] = {}
    for file in sorted(files, key=lambda file: (file.name != RECORD, file.name)):
        if file.name.split("/")[0] not in ANSWERS:
            raise RunError(
                f"{folder / file.name}: is no answer of a run; this cluster is not yours"
            )
        path = inside(folder, file.name)
        if file.name not in begins:
            settled[file.name] = file.sha256
            brought.append(Brought(file.name, "same"))
            continue
        stream.seek(begins[file.name])
        content = stream.read(file.size)
        if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
            raise RunError(f"{path}: arrived damaged, and is left as it was\nfetch it again")
        what = _decided(path, file, content, here=here, known=known)
        if what != "kept":
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part")
            part.write_bytes(content)
            part.replace(path)
            settled[file.name] = file.sha256
        brought.append(Brought(file.name, what))
    return brought, settled


def _decided(
    path: Path, file: _File, content: bytes, *, here: Mapping[str, str], known: Mapping[str, str]
) -> str:
    """Whether a file from there replaces the one here: "new", "updated", or here's is "kept"."""
    if file.name not in here:
        return "new"
    if file.name == RECORD:  # what came first decides, not who wrote last
        return "updated" if continued(content, path.read_bytes()) == "first" else "kept"
    return "updated" if here[file.name] == known.get(file.name) else "kept"


def _removed(
    folder: Path, files: Sequence[_File], *, here: Mapping[str, str], known: Mapping[str, str]
) -> list[Brought]:
    """What came from there into ``best/`` and is no part of it any more."""
    there = {file.name for file in files}
    if not any(name.startswith("best/") for name in there):
        return []
    gone = [
        name
        for name in here
        if name.startswith("best/") and name not in there and known.get(name) == here[name]
    ]
    for name in gone:
        inside(folder, name).unlink()
    return [Brought(name, "removed") for name in gone]
