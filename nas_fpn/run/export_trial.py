"""A trial's neck, trained once more as the search did and exported with its weights.

A trial's weights are not kept: the record says what was trained and from which seed, and on a
CPU the same training gives the same weights. What is exported says when its score differs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from nas_fpn.export import PLAIN, Form, check_adapters, export_neck
from nas_fpn.export.adapters import Facts
from nas_fpn.language import parse
from nas_fpn.necks import Neck
from nas_fpn.record import CLOCKED, Entry, Report
from nas_fpn.run.confirmed_weights import MARK
from nas_fpn.run.leave import STATISTICS
from nas_fpn.run.prepare import Step
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank

__all__ = ["check_fits", "export_trial", "is_there", "mark_of", "neck_of_trial"]

STAGE = "training the best neck once more, for its weights"


def export_trial(
    entry: Entry,
    trainer: Trainer,
    folder: Path,
    *,
    notes: Sequence[str],
    checked: str | None = None,
    form: Form = PLAIN,
) -> Iterator[Step]:
    """Train the neck of a trial as the search did and export it with its weights.

    ``checked`` is what the check on test says of it, if it was in one.
    """
    neck = neck_of_trial(entry, trainer, form)
    total = trainer.settings.steps
    yield Step(STAGE, 0, total)
    last = Report(0, {})
    for last in trainer.reports(neck):
        if last.steps < total:
            yield Step(STAGE, last.steps, total)
    export_neck(
        neck,
        folder,
        image_size=trainer.settings.image_size,
        scores={k: v for k, v in last.scores.items() if k not in {"loss", "replayed"}},
        provenance=_provenance(entry, last, notes, form, checked=checked),
        beside={
            STATISTICS: "mean and std of each channel of the backbone's features",
            MARK: "which trial this is, and its scores on record",
        },
        form=form,
    )
    (folder / STATISTICS).write_bytes(save(_statistics(trainer)))
    (folder / MARK).write_text(json.dumps(mark_of(entry, form), indent=2) + "\n", encoding="utf-8")
    yield Step(STAGE, total, total)


def is_there(entry: Entry, folder: Path, form: Form = PLAIN) -> bool:
    """Whether ``folder`` holds the neck of this trial, exported in this form."""
    mark = folder / MARK
    return mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == mark_of(entry, form)


def check_fits(neck: Neck, form: Form) -> None:
    """Raise RunError where an adapter does not fit the neck, before that is trained."""
    check_adapters(form.adapters, Facts.of(neck, scaled=True, deploy=form.deploy))


def neck_of_trial(entry: Entry, trainer: Trainer, form: Form) -> Neck:
    """The neck as the form has it, with the weights that its training starts from."""
    architecture = parse(entry.text, words=trainer.words)
    if form.width is not None:
        architecture = architecture.with_width(form.width)
    return build_neck(architecture, cached_bank(trainer.bank), seed=trainer.seed)


def mark_of(entry: Entry, form: Form = PLAIN) -> dict[str, object]:
    """What the folder of a trial is known by: the trial, its scores and the form."""
    assert entry.outcome is not None
    mark: dict[str, object] = {
        "trial": entry.number,
        "source": entry.source,
        "neck": entry.neck,
        "scores": dict(entry.outcome.scores),
    }
    if form != PLAIN:
        width = {} if form.width is None else {"width": form.width}
        adapters = {"adapters": list(form.adapters)} if form.adapters else {}
        mark["form"] = {"deploy": form.deploy, "formats": list(form.formats), **width, **adapters}
    return mark


def _statistics(trainer: Trainer) -> dict[str, Tensor]:
    """``mean.c4`` and ``std.c4`` [C]: the neck takes (c4 - mean) / std of the backbone's c4."""
    bank = cached_bank(trainer.bank)
    named = {"mean": bank.mean, "std": bank.std}
    return {f"{k}.c{level}": t.contiguous() for k, v in named.items() for level, t in v.items()}


def _provenance(
    entry: Entry, report: Report, notes: Sequence[str], form: Form, *, checked: str | None
) -> Mapping[str, str]:
    """Where the weights come from, row by row, as the exported folder says it."""
    told = {} if entry.outcome is None else dict(entry.outcome.scores)
    again = dict(report.scores)
    rows = {
        "trial": f"{entry.number} ({entry.source})",
        "scores": "on val, after a training as in the search",
        **({} if checked is None else {"check": checked}),
        "steps": str(report.steps),
        "input": f"features of the run's backbone, as (c - mean) / std with {STATISTICS}",
    }
    if form.width is not None:
        rows["width"] = f"{form.width}, and trained anew at it; the trial had another"
    elif any(told[name] != again[name] for name in told.keys() & again.keys() - CLOCKED):
        rows["repeated"] = "this training gave other scores than the record has"
    return rows | {f"note {i}": note for i, note in enumerate(notes, 1)}
