"""The best neck of a run, trained once more and exported.

A trial's weights are not kept: the record says what was trained and from which seed, and on a
CPU the same training gives the same weights. What is exported says when its score differs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from nas_fpn.errors import RunError, command_line
from nas_fpn.export import PLAIN, Form, check_adapters, export_neck
from nas_fpn.export.adapters import Facts
from nas_fpn.language import Architecture, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.record import CLOCKED, Entry, Report, read_history
from nas_fpn.report import best_entry, draw_front, front, name_of
from nas_fpn.run.confirmed_weights import (
    MARK,
    EndToEnd,
    end_to_end,
    export_end_to_end,
    is_settled,
    named_neck,
    untrained_neck,
)
from nas_fpn.run.own_words import words_for
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run, read_run
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank
from nas_fpn.strange import inside

__all__ = [
    "export_best",
    "export_from_run",
    "export_front",
    "export_untrained",
    "trial_entry",
]

STAGE = "training the best neck once more, for its weights"
STATISTICS = "features.safetensors"  # what the features were standardised with


def trial_entry(run: Run, number: int | None) -> Entry:
    """One trial of a run's record by number, or the best one for None.

    Raises:
        RunError: where there is no record, no such trial, or no complete one.
    """
    path = run.folder / "history.jsonl"
    entries = read_history(path).entries
    if not entries:
        raise RunError(
            f"{path}: no trial is on record\nrun it with: {command_line('search', run.folder)}"
        )
    if number is None:
        best = best_entry(entries, run.settings.objectives[0])
        if best is None:
            raise RunError(f"{path}: no trial is complete yet\nname one: {run.folder}:TRIAL")
        return best
    if not 0 <= number < len(entries):
        raise RunError(f"{path}: no trial {number}; there are 0..{len(entries) - 1}")
    return entries[number]


def export_best(
    run: Run, entries: Sequence[Entry], trainer: Trainer, *, notes: Sequence[str]
) -> Iterator[Step]:
    """Export the best neck to ``best/``, or each neck of the front to a folder there.

    What is there already stays as it is; yields how far it is.
    """
    objectives, folder = run.settings.objectives, run.folder / "best"
    if len(objectives) > 1:
        yield from export_front(entries, objectives, trainer, folder, notes=notes)
        return
    best = best_entry(entries, objectives[0])
    if best is not None and not _is_there(best, folder) and not is_settled(best, folder):
        yield from _export_trial(best, trainer, folder, notes=notes)


def export_front(
    entries: Sequence[Entry],
    objectives: Sequence[str],
    trainer: Trainer,
    folder: Path,
    *,
    notes: Sequence[str],
    form: Form = PLAIN,
    confirmed: Mapping[str, EndToEnd] | None = None,
) -> Iterator[Step]:
    """Export every neck of the front to ``folder``, and what joins them; yield how far it is.

    A folder each, named by trial and neck; ``front.svg`` draws them, ``front.json`` lists them,
    ``README.md`` shows both. Those ``confirmed`` leave with their weights from a detector. A neck
    that is there already is not trained again; one that is no longer on the front keeps its folder.
    """
    best = front(entries, objectives)
    if not best:
        return
    ends = confirmed if confirmed is not None and form.width is None else {}
    for entry in best if form.adapters else ():
        try:
            if entry.neck in ends:
                _check_fits(untrained_neck(ends[entry.neck], words=trainer.words), form)
            else:
                _check_fits(_untrained(entry, trainer, form), form)
        except RunError as fault:
            raise RunError(
                f"trial {entry.number} of the front: {fault}; "
                "--adapter all has for each neck those that it fits"
            ) from fault
    for entry in best:
        place = folder / _folder_name(entry)
        if entry.neck in ends:
            export_end_to_end(ends[entry.neck], place, words=trainer.words, form=form)
        elif not _is_there(entry, place, form) and not (form == PLAIN and is_settled(entry, place)):
            yield from _export_trial(entry, trainer, place, notes=notes, form=form)
    rows = [_mark(entry) | {"folder": _folder_name(entry)} for entry in best]
    listed = {"objectives": list(objectives), "front": rows}
    files = {
        "front.json": json.dumps(listed, indent=2) + "\n",
        "front.svg": draw_front(entries, objectives),
        "README.md": _front_page(best, objectives),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _front_page(best: Sequence[Entry], objectives: Sequence[str]) -> str:
    names = [name.removeprefix("-") for name in objectives]
    rows = [
        "# The front: necks that no other beats in every objective",
        "",
        f"![{names[0]} against {names[1]}](front.svg)",
        "",
        f"| neck | {' | '.join(names)} | |",
        f"| --- | {' | '.join('---:' for _ in names)} | --- |",
    ]
    for entry in best:
        assert entry.outcome is not None
        folder = _folder_name(entry)
        scores = " | ".join(f"{entry.outcome.scores[name]:.4g}" for name in names)
        picture = f"![its drawing]({folder}/neck.svg)"
        rows.append(f"| [{name_of(entry)}]({folder}/README.md) | {scores} | {picture} |")
    return "\n".join(rows) + "\n"


def _folder_name(entry: Entry) -> str:
    return f"{entry.number}-{entry.neck}"


def _is_there(entry: Entry, folder: Path, form: Form = PLAIN) -> bool:
    mark = folder / MARK
    return mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == _mark(entry, form)


def export_from_run(
    folder: Path, number: int | None, to: Path, *, form: Form = PLAIN, trust: bool = False
) -> Iterator[Step]:
    """Export one trial of a run with trained weights; yield how far it is.

    None: the best one, or of a run with several objectives every neck of the front; the one that
    a verdict end to end names, if there is one. A neck of that verdict leaves with its weights from
    a detector. ``trust`` runs the run's own words.

    Raises:
        RunError: where the record, the trial or the bank is missing, own words need trust, or a
            neck does not fit an adapter, which is said before anything is trained.
    """
    run = read_run(folder)
    entry = trial_entry(run, number)
    history = read_history(run.folder / "history.jsonl")
    header = history.events[0]
    bank = inside(run.folder, f"bank/bank-{str(header.get('bank', ''))[:16]}.safetensors")
    halving = run.settings.halving
    rungs = () if halving is None else halving.rungs
    confirmed = end_to_end(run.folder, history)
    wanted = [entry, *(one for one in history.entries if one.neck in confirmed)]
    if len(run.settings.objectives) > 1 and number is None:
        wanted += front(history.entries, run.settings.objectives)
    words = words_for(run, [one.text for one in wanted], trust=trust)
    trainer = Trainer(bank, run.settings.proxy, run.settings.seed, rungs=rungs, words=words)
    notes = header.get("settings", {}).get("notes", ())
    if number is None and len(run.settings.objectives) > 1:
        objectives = run.settings.objectives
        yield from export_front(
            history.entries, objectives, trainer, to, notes=notes, form=form, confirmed=confirmed
        )
        return
    named = None if number is not None else next(map(named_neck, confirmed.values()), None)
    if form.width is None and (neck := named or entry.neck) in confirmed:
        export_end_to_end(confirmed[neck], to, words=words, form=form)
    else:
        _check_fits(_untrained(entry, trainer, form), form)
        yield from _export_trial(entry, trainer, to, notes=notes, form=form)


def _check_fits(neck: Neck, form: Form) -> None:
    """Raise RunError where an adapter does not fit the neck, before that is trained."""
    check_adapters(form.adapters, Facts.of(neck, scaled=True, deploy=form.deploy))


def _untrained(entry: Entry, trainer: Trainer, form: Form) -> Neck:
    architecture = _resized(parse(entry.text, words=trainer.words), form)
    return build_neck(architecture, cached_bank(trainer.bank), seed=trainer.seed)


def export_untrained(
    architecture: Architecture,
    to: Path,
    *,
    channels: str | None,
    seed: int,
    form: Form = PLAIN,
) -> None:
    """Export a neck with its first weights, for a backbone whose ``channels`` are "512,1024,2048".

    ``form.width`` is another width than the program's.

    Raises:
        RunError: where ``channels`` does not have one number per level that the neck reads.
    """
    inputs = lower(architecture).inputs
    given = [] if channels is None else channels.split(",")
    if len(given) != len(inputs) or not all(_is_count(one.strip()) for one in given):
        raise RunError(
            f"--in-channels must have one number per level {', '.join(f'c{k}' for k in inputs)}, "
            f"finest first, but got {channels!r}\nfor a ResNet-50's c3, c4, c5: 512,1024,2048"
        )
    neck = Neck(_resized(architecture, form), [int(one) for one in given], seed=seed)
    origin = {"weights": f"first ones, seed {seed}; not trained"}
    export_neck(neck, to, provenance=origin, form=form)


def _is_count(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


def _export_trial(
    entry: Entry, trainer: Trainer, folder: Path, *, notes: Sequence[str], form: Form = PLAIN
) -> Iterator[Step]:
    """Train the neck of a trial as the search did and export it with its weights."""
    neck = _untrained(entry, trainer, form)
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
        provenance=_provenance(entry, last, notes, form),
        beside={
            STATISTICS: "mean and std of each channel of the backbone's features",
            MARK: "which trial this is, and its scores on record",
        },
        form=form,
    )
    (folder / STATISTICS).write_bytes(save(_statistics(trainer)))
    (folder / MARK).write_text(json.dumps(_mark(entry, form), indent=2) + "\n", encoding="utf-8")
    yield Step(STAGE, total, total)


def _statistics(trainer: Trainer) -> dict[str, Tensor]:
    """``mean.c4`` and ``std.c4`` [C]: the neck takes (c4 - mean) / std of the backbone's c4."""
    bank = cached_bank(trainer.bank)
    named = {"mean": bank.mean, "std": bank.std}
    return {f"{k}.c{level}": t.contiguous() for k, v in named.items() for level, t in v.items()}


def _mark(entry: Entry, form: Form = PLAIN) -> dict[str, object]:
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


def _resized(architecture: Architecture, form: Form) -> Architecture:
    return architecture if form.width is None else architecture.with_width(form.width)


def _provenance(
    entry: Entry, report: Report, notes: Sequence[str], form: Form
) -> Mapping[str, str]:
    """Where the weights come from, row by row, as the exported folder says it."""
    told = {} if entry.outcome is None else dict(entry.outcome.scores)
    again = dict(report.scores)
    rows = {
        "trial": f"{entry.number} ({entry.source})",
        "scores": "on val, after a training as in the search",
        "steps": str(report.steps),
        "input": f"features of the run's backbone, as (c - mean) / std with {STATISTICS}",
    }
    if form.width is not None:
        rows["width"] = f"{form.width}, and trained anew at it; the trial had another"
    elif any(told[name] != again[name] for name in told.keys() & again.keys() - CLOCKED):
        rows["repeated"] = "this training gave other scores than the record has"
    return rows | {f"note {i}": note for i, note in enumerate(notes, 1)}
