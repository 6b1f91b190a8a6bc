"""Calibrating the proxy: the same necks at its fidelities and end to end, and what that says.

Every training is a line of ``calibration.jsonl`` in the run's folder, on disk before the next one
begins: a calibration that was killed goes on, and trains nothing twice. What they say is left in
``calibration.json`` and, where there is a record, as its event "calibrated"; a search that begins
later takes it over.
"""

import hashlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors.torch import load_file

from nas_fpn.language import parse
from nas_fpn.lock import Lock
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.proxy.train import pick_device
from nas_fpn.record import Event, Record
from nas_fpn.report import calibrated, last_calibrated
from nas_fpn.run.calibrate_plan import (
    Chosen,
    Fidelity,
    choose_necks,
    fidelities_of,
    in_order,
    scaled,
)
from nas_fpn.run.calibrate_training import EndToEnd, InProxy, Reference, Scored
from nas_fpn.run.data import embedded, read_data
from nas_fpn.run.prepare import Prepared, Step, prepare
from nas_fpn.run.question import Question, read_question
from nas_fpn.run.settings import Run
from nas_fpn.run.spread import Done, Work, spread
from nas_fpn.run.trainer import cached_bank, decisive
from nas_fpn.search import Noted

__all__ = ["calibrate_run", "keep_calibration"]

LOG, RESULT = "calibration.jsonl", "calibration.json"
REFERENCE = "end to end"
Training = InProxy | EndToEnd


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
        fidelities = fidelities_of(run.settings.proxy, run.settings.calibrate)
        banks = yield from _banks(run, question, prepared, fidelities)
        work = _work(run, question, prepared, necks, fidelities, banks)
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


def _banks(
    run: Run, question: Question, prepared: Prepared, fidelities: Sequence[Fidelity]
) -> Generator[Step, None, dict[int, Path]]:
    """A bank for each image size: the same images, splits and backbone as the run's own."""
    proxy = run.settings.proxy
    banks = {proxy.image_size: prepared.bank}
    sizes = sorted({one.image_size for one in fidelities} - {proxy.image_size})
    if not sizes:
        return banks
    data = read_data(
        run.data,
        run.folder / "data",
        image_size=proxy.image_size,
        needs_warmup=_needs_warmup(run),
    )
    backbone = build_backbone(run.backbone, question.levels, seed=run.settings.seed)
    if prepared.warmed is not None:
        backbone.net.load_state_dict(load_file(prepared.warmed))
    backbone.freeze().to(pick_device(proxy.device))
    for size in sizes:
        steps = build_bank(
            run.folder / "bank",
            backbone=backbone,
            train=data.train,
            val=data.val,
            test=data.test,
            settings=proxy.model_copy(update={"image_size": size}),
        )
        for built in steps:
            yield Step(f"storing features at {size} px", built.done, built.total)
            banks[size] = built.path
    return banks


def _needs_warmup(run: Run) -> bool:
    return run.backbone.weights == "none" and run.backbone.warmup_steps > 0


def _work(
    run: Run,
    question: Question,
    prepared: Prepared,
    necks: Sequence[Chosen],
    fidelities: Sequence[Fidelity],
    banks: Mapping[int, Path],
) -> dict[str, Training]:
    """Every training by the hash of all that decides it, in the order of training."""
    settings, words = run.settings, question.space.words
    reference = _reference(run, prepared)
    seeds = [settings.seed + place for place in range(settings.calibrate.seeds)]
    work: dict[str, Training] = {}
    for neck, seed in in_order(necks, seeds):
        whole = EndToEnd(
            label=REFERENCE,
            neck=neck.neck,
            text=neck.text,
            seed=seed,
            of=_of(
                run, prepared.bank, neck.text, seed, _facts(reference, cached_bank(prepared.bank))
            ),
            reference=reference,
            words=words,
        )
        work[whole.of] = whole
        architecture = parse(neck.text, words=words)
        for one in fidelities:
            narrow = scaled(architecture, one.width)
            if narrow is None:
                continue
            proxy, bank = one.settings(settings.proxy), banks[one.image_size]
            facts = {"proxy": decisive(proxy), "bank": bank.name}
            short = InProxy(
                label=one.label,
                neck=neck.neck,
                text=str(narrow),
                seed=seed,
                of=_of(run, prepared.bank, str(narrow), seed, facts),
                bank=bank,
                settings=proxy,
                words=words,
            )
            work[short.of] = short
    return work


def _reference(run: Run, prepared: Prepared) -> Reference:
    settings, size = run.settings, run.settings.proxy.image_size
    data = run.data
    if data.images is None:
        data = embedded(data, run.folder / "data", image_size=size)
    training = settings.training.model_copy(
        update={
            "image_size": size,
            "steps": max(round(settings.proxy.steps * settings.calibrate.reference_steps), 1),
            "epochs": None,
            "evaluations": 1,
        }
    )
    return Reference(
        bank=prepared.bank,
        data=data,
        cache=run.folder / "data",
        drawn_at=size,
        needs_warmup=_needs_warmup(run),
        backbone=run.backbone,
        warmed=prepared.warmed,
        detector=settings.detector,
        training=training,
        images=settings.calibrate.reference_images,
        drawn_by=settings.seed,
    )


def _facts(reference: Reference, bank: Bank) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "detector": reference.detector.model_dump(mode="json"),
        "training": reference.training.model_dump(mode="json"),
    }
    images = max(len(split.image_ids.unique()) for split in (bank.train, bank.val))
    if images > reference.images:
        facts |= {"images": reference.images, "drawn_by": reference.drawn_by}
    return facts


def _of(run: Run, bank: Path, text: str, seed: int, facts: Mapping[str, Any]) -> str:
    """The hash of a training; the bank's key stands for images, boxes and backbone."""
    words = [str(name) for name in run.settings.words]
    what = [cached_bank(bank).key, words, text, seed, facts]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


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
    steps = max(round(settings.proxy.steps * settings.calibrate.reference_steps), 1)
    return {
        "objective": settings.objectives[0],
        "asked": settings.calibrate.tau,
        "seeds": settings.calibrate.seeds,
        "wanted": wanted,
        "bank": bank.key,
        "data": settings.data.model_dump(mode="json"),
        "backbone": settings.backbone.model_dump(mode="json"),
        "proxy": settings.proxy.model_dump(mode="json"),
        "reference": {
            "label": REFERENCE,
            "said": f"{settings.detector.kind} end to end, {steps} steps of "
            f"{settings.training.batch_size} at {settings.proxy.image_size} px",
        },
        "fidelities": [
            {
                "label": one.label,
                "steps": one.steps,
                "image_size": one.image_size,
                "views": one.views,
                "width": one.width,
            }
            for one in fidelities
        ],
    }
