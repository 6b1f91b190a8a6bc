"""What a run has found, exported: its best neck, the front of several, or any trial."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nas_fpn.errors import RunError, command_line
from nas_fpn.export import PLAIN, Form
from nas_fpn.record import Entry, History, read_history
from nas_fpn.report import best_entry, checked_on_test, front, proxy_checks
from nas_fpn.run.confirmed_weights import (
    EndToEnd,
    end_to_end,
    export_end_to_end,
    is_settled,
    named_neck,
)
from nas_fpn.run.export_front import export_front
from nas_fpn.run.export_trial import check_fits, export_trial, is_there, neck_of_trial
from nas_fpn.run.own_words import words_for
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run, read_run
from nas_fpn.run.trainer import Trainer
from nas_fpn.strange import inside

__all__ = ["export_best", "export_from_run", "neck_text", "trial_entry"]


def trial_entry(run: Run, number: int | None) -> Entry:
    """One trial of a run's record by number; None: what a verdict end to end names, or the best.

    Raises:
        RunError: where there is no record, no such trial, or no complete one.
    """
    path = run.folder / "history.jsonl"
    history = read_history(path)
    entries = history.entries
    if not entries:
        raise RunError(
            f"{path}: no trial is on record\nrun it with: {command_line('search', run.folder)}"
        )
    if number is None:
        named = _named(run, history)
        best = named.entry if named else best_entry(entries, run.settings.objectives[0])
        if best is None:
            raise RunError(f"{path}: no trial is complete yet\nname one: {run.folder}:TRIAL")
        return best
    if not 0 <= number < len(entries):
        raise RunError(f"{path}: no trial {number}; there are 0..{len(entries) - 1}")
    return entries[number]


def neck_text(run: Run, number: int | None) -> str:
    """The program of a trial; None: as :func:`trial_entry`, a re-sized baseline as it was trained.

    Raises:
        RunError: as that does.
    """
    entry = trial_entry(run, number)
    named = None if number is not None else _named(run, read_history(run.folder / "history.jsonl"))
    return entry.text if named is None else str(named.training["text"])


def _named(run: Run, history: History) -> EndToEnd | None:
    """The neck that a verdict end to end names."""
    confirmed = end_to_end(run.folder, history)
    return next((one for neck, one in confirmed.items() if neck == named_neck(one)), None)


def export_best(
    run: Run, history: History, trainer: Trainer, *, notes: Sequence[str]
) -> Iterator[Step]:
    """Export the best neck to ``best/``, or each neck of the front to a folder there.

    What is there already stays as it is; yields how far it is.
    """
    objectives, folder, entries = run.settings.objectives, run.folder / "best", history.entries
    if len(objectives) > 1:
        yield from export_front(entries, objectives, trainer, folder, notes=notes)
        return
    best = best_entry(entries, objectives[0])
    if best is not None and not is_there(best, folder) and not is_settled(best, folder):
        checked = _checked(history, best)
        yield from export_trial(best, trainer, folder, notes=notes, checked=checked)


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
        check_fits(neck_of_trial(entry, trainer, form), form)
        checked = _checked(history, entry)
        yield from export_trial(entry, trainer, to, notes=notes, checked=checked, form=form)


def _checked(history: History, entry: Entry) -> str | None:
    """What the last check on test says, of the two that it compared."""
    checks = proxy_checks(history.events)
    if not checks or entry.number not in (checks[-1]["trial"], checks[-1]["control"]):
        return None
    said = checked_on_test(history)
    return None if said is None else said.replace("\n", " ")
