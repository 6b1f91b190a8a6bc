"""Print the answer of a run for whoever reads this job's log; the standard library alone.

``nas-fpn fetch`` sends this file to the cluster as it is, with a ``request.json`` beside it. A log
is all that Ray's Jobs API gives back, so bytes travel in it, packed, a line for each piece. Lines
that do not begin with the mark are somebody else's.
"""

import base64
import hashlib
import json
import socket
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["MARK", "REQUEST", "send"]

MARK = "nas-fpn-answer "
REQUEST = "request.json"
PIECE = 1 << 18  # bytes of a line, before they are packed
RECORD = "history.jsonl"
REPORTS = (".json", ".jsonl", ".toml")  # of a training, what is small and read by people
LEFT = (".part", ".partial", ".lock")  # half a file, or nobody's answer


def send(request: Mapping[str, Any], write: Callable[[str], object]) -> None:
    """Write what a request asks for: a line of facts, then lines of bytes.

    ``folder`` is the run's; ``names`` are what of it is an answer; ``have`` are SHA-256 of files
    that the reader has, by name. Of all others, one behind another, the bytes from ``skip`` on are
    sent, at most ``most``. ``whole`` sends the weights of trainings too.
    """
    folder = Path(request["folder"]).expanduser()
    facts: dict[str, Any] = {"host": socket.gethostname(), "folder": str(folder)}
    if not folder.is_dir():
        write(MARK + json.dumps({**facts, "missing": True}))
        return
    files: list[dict[str, Any]] = []
    for path in sorted(_answers(folder, request["names"], whole=bool(request.get("whole")))):
        size = _length(path)
        name = path.relative_to(folder).as_posix()
        files.append({"name": name, "size": size, "sha256": _hash(path, size)})
    write(MARK + json.dumps({**facts, "files": files}))
    skip, left = int(request["skip"]), int(request["most"])
    for file in files:
        if request["have"].get(file["name"]) == file["sha256"]:
            continue
        begin = min(skip, file["size"])
        skip -= begin
        count = min(left, file["size"] - begin)
        left -= count
        for piece in _pieces(folder / file["name"], begin, count):
            write(MARK + base64.b64encode(zlib.compress(piece, 1)).decode())


def _answers(folder: Path, names: list[str], *, whole: bool) -> Iterator[Path]:
    for name in names:
        top = folder / name
        for path in top.rglob("*") if top.is_dir() else [top]:
            if not path.is_file() or path.is_symlink() or path.suffix in LEFT:
                continue
            if name == "confirm" and not whole and path.suffix not in REPORTS:
                continue
            yield path


def _length(path: Path) -> int:
    """Of a record up to its last whole line: the search may be writing the next one."""
    if path.name != RECORD:
        return path.stat().st_size
    return path.read_bytes().rfind(b"\n") + 1


def _hash(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(path, 0, size):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path, begin: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(begin)
        while count > 0 and (piece := file.read(min(PIECE, count))):
            count -= len(piece)
            yield piece


if __name__ == "__main__":
    send(json.loads(Path(REQUEST).read_text(encoding="utf-8")), lambda row: print(row, flush=True))
    sys.exit(0)
