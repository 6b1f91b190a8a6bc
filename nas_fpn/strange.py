"""What a run folder holds, read as if a stranger had made it: within the folder, within bounds.

A record can be mailed, unpacked and looked at. Its paths must not lead out of it, its numbers and
lines must not cost a machine its memory, and its facts must be of the types that readers expect.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from nas_fpn.errors import RunError

__all__ = ["MOST_BYTES", "bounded", "check_facts", "check_name", "decoded", "inside"]

MOST_BYTES = 1 << 24  # of one line of a record, and of any other text that a run folder holds
MOST_DIGITS = 18  # of a whole number: what 64 bits hold
MOST_WORKERS = 1 << 20
MOST_MINUTES = 1e9

_ROLES = {"winner", "baseline", "resized", "plain", "plain baseline"}  # of an explanation
_COSTS = ("latency", "params", "gmacs", "none")  # that necks are made equal by
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def inside(folder: Path, name: str | Path) -> Path:
    """The path of ``name`` in a run folder. Raises RunError where it, or a link, leads out of it.

    >>> inside(Path("runs"), "../x")
    Traceback (most recent call last):
    ...
    nas_fpn.errors.RunError: runs/../x: leads out of the run's folder
    a run that is only looked at is read and written within its folder
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"{path}: leads out of the run's folder\n"
            "a run that is only looked at is read and written within its folder"
        )
    return path


def bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a plain file. Raises RunError for one that is larger, OSError as ``open``."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RunError(f"{path}: is larger than the {most >> 10} KiB that such a file may have")
    return content


def decoded(content: bytes) -> Any:
    """JSON without NaN, of whole numbers within 64 bits. Raises ValueError for what is none."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content) >> 20} MiB are too long; at most {MOST_BYTES >> 20} are")
    try:
        return json.loads(content.decode(), parse_constant=_refuse, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def check_facts(event: Mapping[str, Any], trials: int) -> None:
    """Hold what readers use of an event that is no trial's against its type.

    ``trials`` have been asked for so far. Raises KeyError, TypeError or ValueError.
    """
    kind = event["event"]
    if "spent" in event:
        _number(event["spent"], "spent")
    if kind == "run":
        _header(event)
    elif kind == "drift":
        _header(_of(event["header"], dict, "header"))
    elif kind == "over":
        _number(event["minutes"], "minutes")
    elif kind == "plan":
        if not 0 < _number(event["minutes"], "minutes") < MOST_MINUTES:
            raise ValueError(f"minutes must be above 0, but got {event['minutes']}")
    elif kind == "packing":
        _workers(event["workers"], least=1)
        for name in ("cores", "gpus"):
            _of(event[name], int, name)
        share = _number(event["gpus_per_trial"], "gpus_per_trial")
        if not 0 <= share <= MOST_WORKERS:
            raise ValueError(f"gpus_per_trial must be from 0 to {MOST_WORKERS}, but got {share}")
    elif kind == "workers":
        _workers(event["workers"])
    elif kind == "budget":
        _of(event["trials"], int, "trials")
    elif kind == "verdict" and event.get("where") == "end to end":
        _end_to_end(event, trials)
    elif kind == "training":
        check_name(event["neck"], "neck")
        _of(event["scores"], dict, "scores")
        if not 0 <= _of(event["trial"], int, "trial") < trials:
            raise ValueError(f"trial {event['trial']} was never asked")
        for name in ("folder", "text", "split", "of"):
            _of(event[name], str, name)
    elif kind == "explain":
        _explanation(event, trials)
    elif kind == "ablation":
        check_name(event["neck"], "neck")
        _of(event["seed"], int, "seed")
        for name in ("split", "of"):
            _of(event[name], str, name)
        _of(event["reason"] or "", str, "reason")
        for score in _of(event["scores"], dict, "scores").values():
            _number(score, "scores")
    elif kind == "against":
        _of(event["run"], str, "run")
        _of(event["objective"], str, "objective")
        if not _of(event["scores"], list, "scores"):
            raise ValueError("scores must not be empty")
        for score in event["scores"]:
            _number(score, "scores")
    elif kind == "verdict":
        for side in ("trial", "control"):
            if not 0 <= _of(event[side], int, side) < trials:
                raise ValueError(f"{side} {event[side]} was never asked")
            scores = _of(event["scores"][side], list, f"scores {side}")
            if not scores or not all(isinstance(one, int | float) for one in scores):
                raise TypeError(f"scores {side} must be numbers, but got {_shown(scores)}")
        if len(event["scores"]["trial"]) != len(event["scores"]["control"]):
            raise ValueError("scores must be pairs")
        _of(event.get("diverged", 0), int, "diverged")
        _of(event["objective"], str, "objective")
        _of(event["split"], str, "split")


def check_name(value: object, what: str) -> str:
    """A name that may become part of a path. Raises ValueError for any other."""
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError(f"{what} must be letters, digits, _, . and -, but got {_shown(value)}")
    return value


def _end_to_end(event: Mapping[str, Any], trials: int) -> None:
    """The event "verdict" of ``nas-fpn confirm``: its necks, and pairs of them."""
    for name in ("objective", "split", "of", "equal_cost", "detector", "backbone", "ended"):
        _of(event[name], str, name)
    for name in ("image_size", "images"):
        _of(event[name], int, name)
    _number(event["error"], "error")
    _of(event.get("earlier", 0), int, "earlier")
    _known_cost(event)
    necks = set()
    for neck in _of(event["necks"], list, "necks"):
        necks.add(check_name(_of(neck, dict, "necks")["neck"], "neck"))
        if not 0 <= _of(neck["trial"], int, "trial") < trials:
            raise ValueError(f"trial {neck['trial']} was never asked")
        for name in ("name", "role"):
            _of(neck[name], str, name)
        for name in ("width", "repeats", "diverged"):
            _of(neck[name], int, name)
        was = neck["was"]
        for name in () if was is None else ("width", "repeats"):
            _of(_of(was, dict, "was")[name], int, name)
        for seed in _of(neck["seeds"], list, "seeds"):
            _of(seed, int, "seeds")
        for one in _of(neck.get("trainings", []), list, "trainings"):
            _of(one, str, "trainings")
        for name in ("params_m", "gmacs", "latency_ms"):
            if _number(neck["cost"][name], name) <= 0:
                raise ValueError(f"{name} must be above 0, but got {neck['cost'][name]}")
        for scores in _of(neck["scores"], dict, "scores").values():
            for score in _of(scores, list, "scores"):
                _number(score or 0, "scores")
    for pair in _of(event["pairs"], list, "pairs"):
        if not {_of(pair, dict, "pairs")["found"], pair["control"]} <= necks:
            raise ValueError("pairs must be of the necks")
        _of(pair["outcome"], str, "outcome")
        _of(pair["seeds"], int, "seeds")
        if pair["detectable_seeds"] is not None:
            _of(pair["detectable_seeds"], int, "detectable_seeds")
        for name in ("difference", "half", "detectable"):
            if pair[name] is not None:
                _number(pair[name], name)
        for name in ("low", "high") if pair["other_images"] is not None else ():
            _number(pair["other_images"][name], name)
    if not {event["best"], event["keep"]} <= {None, *necks}:
        raise ValueError("best and keep must be of the necks")


def _explanation(event: Mapping[str, Any], trials: int) -> None:
    """The event "explain" of ``nas-fpn explain``: the necks that it trains, and why."""
    for name in ("trial", "control", "nearest"):
        if not 0 <= _of(event[name], int, name) < trials:
            raise ValueError(f"{name} {event[name]} was never asked")
    for name in ("objective", "split", "equal_cost", "of"):
        _of(event[name], str, name)
    _of(event["left_out"], int, "left_out")
    if not _of(event["seeds"], list, "seeds"):
        raise ValueError("seeds must not be empty")
    for seed in event["seeds"]:
        _of(seed, int, "seeds")
    for one in _of(event.get("trainings", []), list, "trainings"):
        _of(one, str, "trainings")
    for one in _of(event["variants"], list, "variants"):
        check_name(_of(one, dict, "variants")["neck"], "neck")
        for name in ("role", "label", "kind", "text"):
            _of(one[name], str, name)
        for name in ("width", "params", "macs"):
            _of(one[name], int, name)
    if not {one["role"] for one in event["variants"]} >= _ROLES:
        raise ValueError(f"variants must have {', '.join(sorted(_ROLES))}")


def _known_cost(event: Mapping[str, Any]) -> None:
    if _of(event["equal_cost"], str, "equal_cost") not in _COSTS:
        raise ValueError(f"equal_cost must be of {', '.join(_COSTS)}")


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, but got {_shown(value)}")
    return value


def _header(header: Mapping[str, Any]) -> None:
    settings = _of(header.get("settings", {}), dict, "settings")
    _texts(settings.get("notes", []), "notes")
    asked = settings.get("objective", "ap")
    _texts([asked] if isinstance(asked, str) else asked, "objective", least=1)
    for name in ("budget", "proxy"):
        _of(settings.get(name, {}), dict, name)
    for name in ("controller_settings", "limits", "backbone", "halving"):
        _of(settings.get(name) or {}, dict, name)
    trials = settings.get("budget", {}).get("trials")
    _of(0 if trials is None else trials, int, "budget.trials")
    for name, value in _of(header.get("words", {}), dict, "words").items():
        _of(value, str, f"words {name!r}")
    _of(header.get("packages") or {}, dict, "packages")
    machine = _of(header.get("machine", {}), dict, "machine")
    ray = _of(machine.get("ray", {}), dict, "machine.ray")
    if ray.get("workers", 1) != "auto":
        _workers(ray.get("workers", 1))


def _workers(count: object, *, least: int = 0) -> None:
    if not least <= _of(count, int, "workers") <= MOST_WORKERS:
        raise ValueError(f"workers must be from {least} to {MOST_WORKERS}, but got {count}")


def _texts(value: object, name: str, *, least: int = 0) -> None:
    texts = _of(value, list, name)
    if len(texts) < least or not all(isinstance(one, str) for one in texts):
        raise TypeError(f"{name} must be texts, but got {_shown(value)}")


def _shown(value: object) -> str:
    """A value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _of(value: object, kind: type, name: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} must be of type {kind.__name__}, but got {_shown(value)}")
    return value


def _whole(digits: str) -> int:
    if len(digits.removeprefix("-")) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
