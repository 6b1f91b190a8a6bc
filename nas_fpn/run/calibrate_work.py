"""Every training of a calibration, as values that travel, each known by all that decides it.

A neck is trained end to end and at each fidelity, with each seed. What was trained already is known
by its hash, so that a calibration goes on whatever became of the process.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_fpn.language import Words, parse
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.run.backbones import needs_warmup, ready_backbones
from nas_fpn.run.calibrate_plan import Chosen, Fidelity, in_order, scaled
from nas_fpn.run.calibrate_training import EndToEnd, InProxy, Reference
from nas_fpn.run.data import embedded, read_data
from nas_fpn.run.prepare import Prepared, Step
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import cached_bank, decisive

__all__ = ["REFERENCE", "Training", "banks_of", "reference_steps", "trainings_of"]

REFERENCE = "end to end"
Training = InProxy | EndToEnd


def trainings_of(
    run: Run,
    question: Question,
    *,
    prepared: Prepared,
    necks: Sequence[Chosen],
    fidelities: Sequence[Fidelity],
    banks: Mapping[tuple[int, int, int], Path],
) -> dict[str, Training]:
    """Every training by the hash of all that decides it, in the order of training."""
    settings, words, key = run.settings, question.space.words, cached_bank(prepared.bank).key
    reference = _reference(run, prepared)
    seeds = [settings.seed + place for place in range(settings.calibrate.seeds)]
    work: dict[str, Training] = {}
    for neck, seed in in_order(necks, seeds):
        whole = EndToEnd(
            label=REFERENCE,
            neck=neck.neck,
            text=neck.text,
            seed=seed,
            of=_of(key, words, neck.text, seed, _facts(reference, cached_bank(prepared.bank))),
            reference=reference,
            words=words,
        )
        work[whole.of] = whole
        architecture = parse(neck.text, words=words)
        for one in fidelities:
            narrow = scaled(architecture, one.width)
            if narrow is None:
                continue
            proxy, bank = one.settings(settings.proxy), banks[one.bank]
            facts = {"proxy": decisive(proxy), "bank": bank.name}
            short = InProxy(
                label=one.label,
                neck=neck.neck,
                text=str(narrow),
                seed=seed,
                of=_of(key, words, str(narrow), seed, facts),
                bank=bank,
                settings=proxy,
                words=words,
            )
            work[short.of] = short
    return work


def banks_of(
    run: Run, question: Question, *, prepared: Prepared, fidelities: Sequence[Fidelity]
) -> Generator[Step, None, dict[tuple[int, int, int], Path]]:
    """A bank for each image size and tuning, by ``Fidelity.bank``: the same images and splits.

    ``fidelities`` begin with the proxy as it is, whose bank is the run's own.
    """
    proxy, banks = run.settings.proxy, {fidelities[0].bank: prepared.bank}
    if all(one.bank in banks for one in fidelities):
        return banks
    data = read_data(
        run.data,
        run.folder / "data",
        image_size=proxy.image_size,
        needs_warmup=needs_warmup(run.backbone),
    )
    for one in fidelities:
        if one.bank in banks:
            continue
        tuned = replace(run, backbone=one.backbone(run.backbone))
        ready = yield from ready_backbones(tuned, data, question.levels, neck=question.warmup_neck)
        steps = build_bank(
            run.folder / "bank",
            backbone=ready.backbone,
            train=data.train,
            val=data.val,
            test=data.test,
            settings=proxy.model_copy(update={"image_size": one.image_size}),
        )
        for built in steps:
            yield Step(f"storing features: {one.label}", built.done, built.total)
            banks[one.bank] = built.path
    return banks


def reference_steps(run: Run) -> int:
    """How long a training end to end is."""
    settings = run.settings
    return max(round(settings.proxy.steps * settings.calibrate.reference_steps), 1)


def _reference(run: Run, prepared: Prepared) -> Reference:
    settings, size = run.settings, run.settings.proxy.image_size
    data = run.data
    if data.images is None:
        data = embedded(data, run.folder / "data", image_size=size)
    training = settings.training.model_copy(
        update={
            "image_size": size,
            "steps": reference_steps(run),
            "epochs": None,
            "evaluations": 1,
        }
    )
    return Reference(
        bank=prepared.bank,
        data=data,
        cache=run.folder / "data",
        drawn_at=size,
        needs_warmup=needs_warmup(run.backbone),
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


def _of(key: str, words: Words, text: str, seed: int, facts: Mapping[str, Any]) -> str:
    """The hash of a training; the bank's ``key`` stands for images, boxes and backbone."""
    what = [key, [file.sha256 for file in words.files], text, seed, facts]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
