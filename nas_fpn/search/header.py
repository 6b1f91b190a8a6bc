"""The first line of a record: begun once, and the same question ever after."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas_fpn.errors import RunError
from nas_fpn.record import VERSION, Event, History, Record
from nas_fpn.search.memory import MemoryRecord

__all__ = ["PROXY_MAY_CHANGE", "begin", "budget_on_record", "check_header"]

# What may differ between the first session of a run and a later one.
MAY_CHANGE = ("event", "version", "packages", "machine")
SETTINGS_MAY_CHANGE = (
    *("budget", "calibrate", "confirm", "detector", "explain"),
    *("ray", "report", "training"),
)
PROXY_MAY_CHANGE = ("graphs",)  # how a step is launched; older records know nothing of it


def begin(record: Record | MemoryRecord, header: Event, *, trials: int, accept_drift: bool) -> int:
    """Write the first line of a new record, or hold ``header`` against that of an old one.

    ``header`` are the facts of a run without "event" and "version": "seed", "space",
    "controller", "settings", "packages", "machine". A budget other than the one on record becomes
    an event "budget". With ``accept_drift``, a header that differs becomes an event "drift".
    Returns the position among the events before which proposals are taken as they stand.
    Raises :class:`RunError` with every difference.
    """
    history = record.history
    if not history.events:
        first = {"event": "run", "version": VERSION, **header}
        record.append(first)
        _set_budget(record, History((first,)), trials)
        return 0
    new: dict[str, Any] = json.loads(json.dumps(header))
    differences = list(_differences(_question(history.header), _question(new)))
    if differences and not accept_drift:
        raise _another(record.path, history, new, differences)
    drifts = [at for at, event in enumerate(history.events) if event["event"] == "drift"]
    if accept_drift:
        record.append({"event": "drift", "header": new, "differences": differences})
    _set_budget(record, history, trials)
    if accept_drift:
        return len(history.events)
    return drifts[-1] if drifts else 0


def check_header(path: Path, history: History, part: Event) -> None:
    """Hold what is known of a header, ``part``, against that of the record at ``path``.

    So that a run which was begun as another is told before anything is made for it; what ``part``
    says nothing of, at any depth, is not compared. Raises :class:`RunError` with every difference.
    """
    if not history.events:
        return
    new: dict[str, Any] = json.loads(json.dumps(part))
    old = _known(_question(history.header), _question(new))
    if differences := list(_differences(old, _question(new))):
        raise _another(path, history, new, differences)


def budget_on_record(history: History) -> int | None:
    """The number of trials that a run was last asked for; None where nothing says it."""
    events = [event for event in history.events if event["event"] == "budget"]
    if events:
        trials = events[-1]["trials"]
    else:
        settings = history.events[0].get("settings", {}) if history.events else {}
        trials = settings.get("budget", {}).get("trials")
    return trials if isinstance(trials, int) else None


def _set_budget(record: Record | MemoryRecord, history: History, trials: int) -> None:
    if budget_on_record(history) not in {None, trials}:
        record.append({"event": "budget", "trials": trials})


def _question(header: Event) -> dict[str, Any]:
    kept = {key: value for key, value in header.items() if key not in MAY_CHANGE}
    settings = kept.get("settings", {})
    settings = {k: v for k, v in settings.items() if k not in SETTINGS_MAY_CHANGE}
    if isinstance(proxy := settings.get("proxy"), dict):
        settings["proxy"] = {k: v for k, v in proxy.items() if k not in PROXY_MAY_CHANGE}
    kept["settings"] = settings
    return kept


def _known(old: Any, new: Any) -> Any:
    """What of ``old`` has a place in ``new``."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return old
    return {key: _known(old.get(key), value) for key, value in new.items()}


def _another(path: Path, history: History, new: Event, differences: list[str]) -> RunError:
    return RunError(
        "\n".join(
            [
                f"{path}:1: this run was begun as another",
                *(f"  {row}" for row in differences),
                *_copies(path.parent / "code", history.header, new),
                "put it back, start a run in another folder, or go on with --accept-drift",
            ]
        )
    )


def _copies(folder: Path, old: Event, new: Event) -> Iterator[str]:
    """Where the code is that the run was begun with, of what has changed."""
    words = old.get("words") or {}
    files = ("space", "controller", "backbone")
    before = {**{k: old.get(k) for k in files}, **words}
    after = {**{k: new.get(k) for k in files}, **(new.get("words") or {})}
    for name, digest in before.items():
        if digest is not None and digest != after.get(name):
            for copy in sorted(folder.glob(f"*-{str(digest)[:16]}.*")):
                yield f"  {name} as it was: {copy}"


def _differences(old: object, new: object, key: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            below = f"{key}.{name}" if key else str(name)
            yield from _differences(old.get(name), new.get(name), below)
    elif old != new:
        yield f"{key} was {json.dumps(old)} and is now {json.dumps(new)}"
