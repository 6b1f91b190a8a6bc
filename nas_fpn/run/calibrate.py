"""Calibrating the proxy: the same necks at its fidelities and end to end, and what that says.

Every training is a line of ``calibration.jsonl`` in the run's folder, on disk before the next one
begins: a calibration that was killed goes on, and trains nothing twice. What they say is left in
``calibration.json`` and, where there is a record, as its event "calibrated"; a search that begins
later takes it over.
"""

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from nas_fpn.lock import Lock
from nas_fpn.proxy.bank import Bank
from nas_fpn.record import Event, Record
from nas_fpn.report import SET_IN_PROXY, calibrated, last_calibrated
from nas_fpn.run.calibrate_plan import Fidelity, check_distinct, choose_necks, fidelities_of
from nas_fpn.run.calibrate_training import EndToEnd, InProxy, Scored
from nas_fpn.run.calibrate_work import (
    REFERENCE,
    Training,
    banks_of,
    reference_steps,
    trainings_of,
)
from nas_fpn.run.prepare import Step, prepare
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import Run
from nas_fpn.run.spread import Done, Work, spread
from nas_fpn.run.trainer import cached_bank
from nas_fpn.search import Noted

__all__ = ["calibrate_run", "keep_calibration"]

LOG, RESULT = "calibration.jsonl", "calibration.json"


def calibrate_run(
    run: Run, *, minutes: float | None = None
) -> Generator[Step | Noted, None, Event]:
    """Train what a calibration needs, within ``minutes``; yield how far it is, return what it says.

    Goes on where an earlier call ended. ``minutes`` count from this call, in place of those of the
    settings; no training begins that would end later, as far as earlier ones tell.

    Raises:
        RunError, DataError, SpaceError: for wrong settings, words, data or backbone.
        FloatingPointError: when the backbone's warm-up diverged.
    """
    limit = monotonic() + 60 * (run.settings.calibrate.minutes if minutes is None else minutes)
    torch.set_num_threads(run.settings.proxy.threads)
    with Lock(run.folder / "history.lock") as lock:
        question = read_question(run)
        prepared = yield from prepare(run, question.levels, warmup_neck=question.warmup_neck)
        bank = cached_bank(prepared.bank)
        necks = choose_necks(question, bank, run.settings.calibrate, seed=run.settings.seed)
        fidelities = fidelities_of(run.settings.proxy, run.backbone, run.settings.calibrate)
        check_distinct(necks, fidelities, question.space.words)
        banks = yield from banks_of(run, question, prepared=prepared, fidelities=fidelities)
        work = trainings_of(
            run, question, prepared=prepared, necks=necks, fidelities=fidelities, banks=banks
        )
        log = _Log(run.folder / LOG)
        with closing(_train_all(run, work, log, limit)) as events:
            yield from events
        event = calibrated(
            [{**row, "label": work[row["of"]].label} for row in log.rows if row["of"] in work],
            necks=[
                {"neck": one.neck, "why": one.why, "params": one.params, "macs": one.macs}
                for one in necks
            ],
            about=_about(run, bank, fidelities, wanted=len(work)),
        )
        path = run.folder / RESULT
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(event, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
        if (run.folder / "history.jsonl").is_file():
            with Record(run.folder / "history.jsonl", lock=lock) as record:
                if record.history.events:
                    keep_calibration(run.folder, record)
    return event


def keep_calibration(folder: Path, record: Record) -> None:
    """Put the calibration that lies in a run's folder on its record, unless that held it before."""
    path = folder / RESULT
    if not path.is_file():
        return
    event = json.loads(path.read_text(encoding="utf-8"))
    if event != last_calibrated(record.history):
        record.append(event)


class _Log:
    """The trainings on file; a last line that a killed writer left incomplete is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                path.write_text(whole, encoding="utf-8")
            self.rows = [json.loads(line) for line in whole.splitlines()]

    def append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)


def _train_all(
    run: Run, work: Mapping[str, Training], log: _Log, limit: float
) -> Generator[Step | Noted, None, None]:
    """Train whatever is due while there is time; each onto the log."""
    told = {row["of"] for row in log.rows}
    waiting = [one for of, one in work.items() if of not in told]
    total, done = len(work), len(work) - len(waiting)
    took: dict[str, list[float]] = {}
    for row in log.rows:
        if row["of"] in work:
            took.setdefault(work[row["of"]].label, []).append(row["seconds"])

    def due() -> Work[Scored] | None:
        while waiting:
            known = took.get(waiting[0].label, [0.0])
            if monotonic() + sum(known) / len(known) <= limit:
                return waiting.pop(0)
            waiting.pop(0)
        return None

    settings = run.settings
    left = len(waiting)
    yield Noted(f"{total} trainings, {total - left} of them on file")
    for event in spread(due, workers=settings.calibrate.workers, threads=settings.proxy.threads):
        one = event.work
        assert isinstance(one, (InProxy, EndToEnd))
        if isinstance(event, Done):
            done += 1
            took.setdefault(one.label, []).append(event.result.seconds)
            log.append(_row(one, event.result))
            yield Noted(_ended(run, one, event.result, done, total))
        elif event.part < 1:
            yield Step(f"training {one.neck}, {one.label}", round(100 * event.part), 100)


def _row(one: Training, result: Scored) -> dict[str, Any]:
    return {
        "of": one.of,
        "label": one.label,
        "neck": one.neck,
        "text": one.text,
        "seed": one.seed,
        "split": "val",
        "scores": dict(result.scores),
        "cpu_seconds": result.cpu_seconds,
        "seconds": result.seconds,
        "reason": result.reason,
    }


def _ended(run: Run, one: Training, result: Scored, done: int, total: int) -> str:
    said = f"{done}/{total} {one.neck}, seed {one.seed}, {one.label}"
    if result.reason is not None:
        return f"{said}: {result.reason}; its score counts as 0"
    objective = run.settings.objectives[0]
    score = result.scores.get(objective, 0.0)
    return f"{said}: {objective} {score:.4f}, {result.cpu_seconds:.0f} CPU s"


def _about(run: Run, bank: Bank, fidelities: Sequence[Fidelity], *, wanted: int) -> dict[str, Any]:
    """What a calibration is of, as the result repeats it."""
    settings = run.settings
    images = len(bank.val.image_ids.unique())
    most = settings.calibrate.reference_images
    return {
        "objective": settings.objectives[0],
        "asked": settings.calibrate.tau,
        "seeds": settings.calibrate.seeds,
        "wanted": wanted,
        "bank": bank.key,
        "data": settings.data.model_dump(mode="json"),
        "backbone": settings.backbone.model_dump(mode="json"),
        "proxy": settings.proxy.model_dump(mode="json"),
        **({"val": {"images": images, "reference": most}} if images > most else {}),
        "reference": {
            "label": REFERENCE,
            "said": f"{settings.detector.kind} end to end, {reference_steps(run)} steps of "
            f"{settings.training.batch_size} at {settings.proxy.image_size} px",
        },
        "fidelities": [
            {
                "label": one.label,
                "width": one.width,
                **{name: getattr(one, name) for name in SET_IN_PROXY},
                "backbone": one.backbone(settings.backbone).model_dump(mode="json"),
            }
            for one in fidelities
        ],
    }
