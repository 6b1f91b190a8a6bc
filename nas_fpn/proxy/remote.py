"""Files by URL: each is fetched once a machine, whole or not at all, and kept by what it holds.

The cache is ``$NAS_FPN_CACHE``, else ``nas_fpn`` in the user's cache folder::

    content/ab/abcd…      the bytes, by their SHA-256
    known/…               which bytes a URL held, for the size and mark (ETag, time) it had then
    files/, folders/      the same bytes by the names that they were asked for

A URL whose size or mark has changed is fetched again; nothing is ever deleted but what a killed
process has left half. Object stores are read by fsspec's driver where it is installed (s3fs …),
else by pyarrow's.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import FileSystem

from nas_fpn.errors import RunError
from nas_fpn.proxy.url import below

__all__ = ["Facts", "cache_folder", "facts_of", "harmless", "local_file", "local_folder"]

ARROW = ("s3", "gs", "gcs", "abfs", "abfss")
MARKS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "mtime", "Last-Modified"),
    *("LastModified", "last_modified", "updated", "created"),
)
AT_ONCE = 8  # files of a folder
HALF = 86_400.0  # seconds after which half a file is nobody's
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a remote file without reading it: bytes, and a mark; each may be missing."""

    size: int | None
    mark: str


@dataclass(frozen=True, slots=True)
class _Kept:
    sha256: str
    path: Path


def facts_of(url: str) -> Facts:
    """Look at a file that a URL names. Raises :class:`RunError` where it is not reached."""
    system, path = _system(url)
    return _facts(system, path, url)


def local_file(url: str) -> Path:
    """The file of a URL on this machine, under its own name.

    Raises:
        RunError: where it is not reached, or arrives with another length than was announced.
        OSError: where the disk takes no more.
    """
    system, path = _system(url)
    with _alone(url):
        kept = _fetched(system, path, url)
    return _linked(cache_folder() / "files" / kept.sha256[:16] / PurePosixPath(path).name, kept)


def local_folder(url: str, names: Iterable[str]) -> Path:
    """A folder on this machine with the files ``names`` of the folder that a URL names.

    Files that are not there are left out. Equal files make one folder, whatever URL they come from.
    Raises as :func:`local_file`.
    """
    system, top = _system(url)
    wanted = {name: f"{top.rstrip('/')}/{harmless(name, url)}" for name in sorted(set(names))}
    with _alone(url):
        listed = _listed(system, top, url)
        there = {name: path for name, path in wanted.items() if listed is None or path in listed}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = {
                name: pool.submit(
                    _maybe, system, path, below(url, name), None if listed is None else listed[path]
                )
                for name, path in there.items()
            }
            found = {name: job.result() for name, job in jobs.items()}
        kept = {name: one for name, one in found.items() if one is not None}
        if wanted and not kept:
            raise RunError(
                f"{url}: holds none of the {len(wanted)} files that are asked for, the first is "
                f"{next(iter(wanted))}\nname the folder that the file names start at"
            )
        rows = "\n".join(f"{one.sha256} {name}" for name, one in sorted(kept.items()))
        folder = cache_folder() / "folders" / hashlib.sha256(rows.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        for name, one in kept.items():
            _linked(folder / name, one)
    return folder


def cache_folder() -> Path:
    """Where fetched files are kept on this machine; made where it is missing."""
    named = os.environ.get("NAS_FPN_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named).expanduser() if named else base / "nas_fpn"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, as fsspec has it, and the path there."""
    scheme = urlsplit(url).scheme
    try:
        system, path = url_to_fs(url)
        return system, str(path)
    except ImportError as error:
        if scheme not in ARROW:
            raise RunError(
                f"{url}: {scheme}:// needs packages that are not installed here ({error})\n"
                'pip install "nas-fpn[cluster]" brings them'
            ) from None
    except (ValueError, OSError) as error:
        raise _fault(url, error) from error
    try:
        arrow, path = FileSystem.from_uri(url)
    except (ValueError, OSError, NotImplementedError) as error:
        raise _fault(url, error) from error
    return ArrowFSWrapper(arrow), str(path)


def _facts(system: Any, path: str, url: str) -> Facts:
    try:
        info = system.info(path)
    except Exception as error:  # drivers raise what they like
        raise _fault(url, error) from error
    return _told(info)


def _told(info: Mapping[str, Any]) -> Facts:
    size = info.get("size")
    marks = [f"{name}={info[name]}" for name in MARKS if info.get(name) is not None]
    return Facts(None if size is None else int(size), " ".join(marks))


def _listed(system: Any, top: str, url: str) -> dict[str, Facts] | None:
    """The files below a folder; None where the store lists none, as a web server."""
    if urlsplit(url).scheme in ("http", "https"):
        return None
    try:
        found = system.find(top, detail=True)
    except Exception as error:  # drivers raise what they like
        raise _fault(url, error) from error
    return {str(path): _told(info) for path, info in found.items()}


def _maybe(system: Any, path: str, url: str, facts: Facts | None) -> _Kept | None:
    """A file of a folder; None where it is not there."""
    try:
        return _fetched(system, path, url, facts)
    except RunError as fault:
        if isinstance(fault.__cause__, FileNotFoundError):
            return None
        raise


def _fetched(system: Any, path: str, url: str, facts: Facts | None = None) -> _Kept:
    """The bytes of a URL, those in the cache or new ones."""
    facts = facts or _facts(system, path, url)
    root = cache_folder()
    what = f"{url}\n{facts.size}\n{facts.mark}"
    known = root / "known" / hashlib.sha256(what.encode()).hexdigest()[:32]
    if facts.mark and (kept := _known(known, root)) is not None:
        return kept
    parts = root / "part"
    parts.mkdir(exist_ok=True)
    _tidy(parts)
    part = parts / uuid.uuid4().hex
    try:
        try:
            system.get_file(path, str(part))
        except Exception as error:  # drivers raise what they like
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise _fault(url, error) from error
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = part.stat().st_size
        if facts.size is not None and size != facts.size:
            raise RunError(f"{url}: {size} bytes arrived of {facts.size}\nsearch again")
        content = root / "content" / digest[:2] / digest
        content.parent.mkdir(parents=True, exist_ok=True)
        if not content.is_file() or content.stat().st_size != size:
            part.replace(content)
    finally:
        part.unlink(missing_ok=True)
    known.parent.mkdir(exist_ok=True)
    beside = known.with_name(f"{known.name}.{uuid.uuid4().hex[:8]}")
    beside.write_text(json.dumps({"url": url, "sha256": digest, "size": size}))
    beside.replace(known)
    return _Kept(digest, content)


def _known(known: Path, root: Path) -> _Kept | None:
    try:
        told = json.loads(known.read_text())
        content = root / "content" / told["sha256"][:2] / told["sha256"]
        if content.stat().st_size == told["size"]:
            return _Kept(told["sha256"], content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _linked(path: Path, kept: _Kept) -> Path:
    """The bytes under another name, without a second copy where the disk knows links."""
    if path.is_file() and path.stat().st_size == kept.path.stat().st_size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:8]}.part")
    try:
        os.link(kept.path, beside)
    except OSError as fault:
        if fault.errno in FULL:
            raise
        shutil.copyfile(kept.path, beside)
    beside.replace(path)
    return path


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """One process of this machine at a time fetches a URL; the others wait and find it."""
    folder = cache_folder() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / hashlib.sha256(url.encode()).hexdigest()[:32]).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tidy(parts: Path) -> None:
    for part in parts.iterdir():
        try:
            if time.time() - part.stat().st_mtime > HALF:
                part.unlink()
        except FileNotFoundError:
            continue


def harmless(name: str, where: str) -> str:
    """The name of an image, as the annotations at ``where`` give it.

    Raises :class:`RunError` for one that leads out of the folder of images.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise RunError(
            f"{where}: the annotations name a file {name!r}, which leads out of the folder\n"
            "file names start at the folder of images"
        )
    return path.as_posix()


def _fault(url: str, error: Exception) -> RunError:
    what = " ".join(str(error).split())[:200]
    if isinstance(error, FileNotFoundError):
        return RunError(f"{url}: no such file or folder\nname one that is there")
    if isinstance(error, PermissionError):
        hint = "give this machine the rights, as the store's own tools do it (environment, role)"
        return RunError(f"{url}: may not be read here: {what}\n{hint}")
    return RunError(
        f"{url}: cannot be reached: {type(error).__name__}: {what}\n"
        "is the network open from here, and are the store's credentials set?"
    )
