"""What a training says of itself in its folder: the question, a line a report, the outcome.

``job.json`` holds the question, ``log.jsonl`` the reports, ``tensorboard/`` the same as curves, and
``metrics.json`` the outcome; that it is there says that the folder is whole.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from nas_fpn.errors import RunError
from nas_fpn.record import Report

__all__ = ["TrainLog"]


class TrainLog:
    """The records of a training in ``folder``, made if it is missing.

    Raises ``RunError`` if the folder holds another training, naming what differs.
    """

    def __init__(self, folder: Path, question: Mapping[str, Any]) -> None:
        self.folder = folder
        self.seconds = 0.0
        self._logged: set[int] = set()
        self._writer: SummaryWriter | None = None
        path = folder / "job.json"
        if path.is_file():
            _check_same(path, question)
        elif folder.is_dir() and {one.name for one in folder.iterdir()} - {_partial(path).name}:
            raise RunError(f"{folder}: holds something else\nname a new folder")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, question)
        for row in _rows(folder / "log.jsonl"):
            self._logged.add(row["steps"])
            self.seconds = row["seconds"]

    def outcome(self) -> Report | None:
        """The last report of a training that is done, else None."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            return None
        known = json.loads(path.read_text(encoding="utf-8"))
        return Report(known["steps"], known["scores"], known["seconds"])

    def write(self, report: Report) -> None:
        """Add a report, unless it is there from before an interruption."""
        self.seconds = report.seconds
        if report.steps in self._logged:
            return
        self._logged.add(report.steps)
        row = {"steps": report.steps, "scores": dict(report.scores), "seconds": report.seconds}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder / "tensorboard"))
        for name, value in report.scores.items():
            self._writer.add_scalar(name, value, report.steps)

    def close(self, report: Report, facts: Mapping[str, Any], *, notes: Sequence[str]) -> None:
        """Write the outcome: scores, and what they are of."""
        if self._writer is not None:
            self._writer.close()
        outcome = {
            **facts,
            "steps": report.steps,
            "seconds": report.seconds,
            "scores": dict(report.scores),
            "notes": list(notes),
        }
        _write(self.folder / "metrics.json", outcome)


def _check_same(path: Path, question: Mapping[str, Any]) -> None:
    known = json.loads(path.read_text(encoding="utf-8"))
    differ = [_differing(key, known.get(key), value) for key, value in question.items()]
    if rows := "\n".join(f"  {row}" for row in differ if row):
        raise RunError(
            f"{path}: the folder holds another training\n{rows}\n"
            "ask the same again to go on with it, or name another folder"
        )


def _differing(key: str, known: Any, asked: Any) -> str:
    """What differs, in words; empty where nothing does."""
    if known == asked:
        return ""
    if isinstance(known, dict) and isinstance(asked, dict):
        rows = [_differing(f"{key}.{k}", known.get(k), v) for k, v in asked.items()]
        return "\n  ".join(row for row in rows if row)
    if isinstance(asked, str) and "\n" in asked:
        return f"{key}: another program"
    return f"{key}: {json.dumps(known)} there, {json.dumps(asked)} asked"


def _rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a killed writer may leave a torn one, which is cut off."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(row) for row in whole.splitlines()]


def _partial(path: Path) -> Path:
    """Where a file is written before it is whole; one that was killed there leaves it."""
    return path.with_suffix(".partial")


def _write(path: Path, value: Mapping[str, Any]) -> None:
    partial = _partial(path)
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
