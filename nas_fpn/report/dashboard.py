"""optuna-dashboard on one or several runs: made from their records in memory, and following them.

It needs no mirror and writes nothing, so a folder may be read-only, and whoever reaches the page
can change nothing. Needs the extra ``dashboard``; only the verb imports this file.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from nas_fpn.errors import RunError
from nas_fpn.record import Entry, read_history
from nas_fpn.report.drawings import DrawnOnDemand
from nas_fpn.report.mirror import Mirror, fingerprint
from nas_fpn.report.mirrors import written
from nas_fpn.report.opened import no_record, open_run
from nas_fpn.report.optuna_store import in_memory

__all__ = ["LOOPBACK", "Followed", "serve"]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PERIOD = 1.0  # seconds between looks at the records
REST = 4  # times as long as a look took, if that is more: a long record takes a fifth of the time

Start = Callable[..., Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Followed:
    """A run in a storage, brought up to its record by :meth:`look`."""

    def __init__(
        self,
        folder: Path,
        storage: BaseStorage,
        drawings: DrawnOnDemand,
        *,
        name: str,
        trust: bool = False,
    ) -> None:
        self._folder = folder
        self._trust = trust
        self._storage = storage
        self._drawings = drawings
        self._name = name
        self._seen = self._stamp()
        self._entries: tuple[Entry, ...] = ()
        self._fingerprint, self._mirror = self._begun()

    def look(self) -> None:
        """Show what has come. Raises RunError while the record is malformed, or gone."""
        if self._seen == (seen := self._stamp()):
            return
        history = read_history(self._folder / "history.jsonl")
        if fingerprint(history) != self._fingerprint or len(history.entries) < len(self._entries):
            self._fingerprint, self._mirror = self._begun()  # another search has begun here
        else:
            for number, entry in enumerate(history.entries):
                if number >= len(self._entries) or entry != self._entries[number]:
                    self._mirror.follow(entry)
            self._mirror.say(history)
            self._entries = history.entries
        self._seen = seen

    def _begun(self) -> tuple[str, Mirror]:
        run = open_run(self._folder, trust=self._trust)
        self._entries = run.history.entries
        mirror = Mirror(
            self._storage,
            run,
            drawings=self._drawings,
            name=self._name,
            written=written(self._folder),
        )
        return fingerprint(run.history), mirror

    def _stamp(self) -> tuple[int, int]:
        try:
            there = (self._folder / "history.jsonl").stat()
        except FileNotFoundError:
            raise no_record(self._folder) from None
        return there.st_mtime_ns, there.st_size


def serve(folders: Sequence[Path], *, host: str, port: int, trust: bool = False) -> Iterator[str]:
    """Serve the runs until the generator is closed; yields the address, then what goes wrong.

    ``trust`` runs the own words of the runs. Raises RunError for a run without a record, and where
    the address cannot be had.
    """
    storage, drawings = in_memory(), DrawnOnDemand()
    names = _names(folders)
    runs = [
        Followed(folder, storage, drawings, name=name, trust=trust)
        for folder, name in zip(folders, names, strict=True)
    ]
    app: Any = wsgi(storage, artifact_store=drawings)
    try:
        server = make_server(host, port, _guarded(app, host), _Server, _Quiet)
    except OSError as fault:
        raise RunError(
            f"{host}:{port}: {fault.strerror}\ntake another with --port, or end who has it"
        ) from None
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}/"
        said: dict[int, str] = {}
        try:
            took = 0.0
            while True:
                time.sleep(max(PERIOD, REST * took))
                began = time.monotonic()
                for at, run in enumerate(runs):
                    yield from _looked(at, run, said)
                took = time.monotonic() - began
        finally:
            server.shutdown()


def _looked(at: int, run: Followed, said: dict[int, str]) -> Iterator[str]:
    """Look at one run; a fault is said once, until it is mended."""
    try:
        run.look()
    except RunError as fault:
        if said.get(at) != str(fault):
            said[at] = str(fault)
            yield str(fault)
    else:
        said.pop(at, None)


def _names(folders: Sequence[Path]) -> list[str]:
    """The names of the runs, told apart by numbers where they are equal."""
    found: list[str] = []
    for folder in folders:
        name = folder.resolve().name
        same = sum(one == name or one.startswith(f"{name} (") for one in found)
        found.append(f"{name} ({same + 1})" if same else name)
    return found


def _guarded(app: Application, host: str) -> Application:
    """The application, to look at only; on loopback for pages of this machine only.

    A foreign page whose name suddenly means 127.0.0.1 would else read along.
    """

    def guarded(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        asked = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or environ.get("HTTP_HOST")
        if host in LOOPBACK and str(asked).strip("[]") not in LOOPBACK:
            return _refused(start, "403 Forbidden", "this dashboard is for this machine only\n")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            said = "the dashboard shows the record of a run; nothing can be changed here"
            return _refused(start, "405 Method Not Allowed", f'{{"reason": "{said}"}}\n')
        return app(environ, start)

    return guarded


def _refused(start: Start, status: str, said: str) -> list[bytes]:
    kind = "application/json" if said.startswith("{") else "text/plain; charset=utf-8"
    start(status, [("Content-Type", kind)])
    return [said.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at a time."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """No line for every request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
