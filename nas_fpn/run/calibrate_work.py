"""Every training of a calibration, as values that travel, each known by all that decides it.

A neck is trained end to end and at each fidelity, with each seed. What was trained already is known
by its hash, so that a calibration goes on whatever became of the process.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from nas_fpn.language import parse
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.proxy.train import pick_device
from nas_fpn.run.calibrate_plan import Chosen, Fidelity, in_order, scaled
from nas_fpn.run.calibrate_training import EndToEnd, InProxy, Reference
from nas_fpn.run.data import embedded, read_data
from nas_fpn.run.prepare import Prepared, Step
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import cached_bank, decisive

__all__ = ["REFERENCE", "Training", "banks_by_size", "reference_steps", "trainings_of"]

REFERENCE = "end to end"
Training = InProxy | EndToEnd


def trainings_of(
    run: Run,
    question: Question,
    *,
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


def banks_by_size(
    run: Run, question: Question, *, prepared: Prepared, fidelities: Sequence[Fidelity]
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


def _needs_warmup(run: Run) -> bool:
    return run.backbone.weights == "none" and run.backbone.warmup_steps > 0
