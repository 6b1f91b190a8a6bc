"""Explaining a neck by trainings: what each simpler choice would have cost, where the gain is from.

In the proxy, with new seeds that all necks share, scored on test. Every training is an event
"ablation" of the record; an explanation that was killed goes on, and trains nothing twice.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch

from nas_fpn.errors import RunError, command_line
from nas_fpn.language import parse
from nas_fpn.lock import Lock
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.train import pick_device, train
from nas_fpn.record import Event, History, Record, read_history
from nas_fpn.report import Explained, explained
from nas_fpn.report.compare import but_last_digits
from nas_fpn.run.code import check_backbone
from nas_fpn.run.confirm import check_same
from nas_fpn.run.equal_cost import Frame
from nas_fpn.run.explain_plan import (
    Explanation,
    Variant,
    asked,
    explained_pair,
    make_explanation,
    on_record,
    training_of,
)
from nas_fpn.run.own_words import read_words
from nas_fpn.run.prepare import Step, check_measured, prepare
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import Run
from nas_fpn.run.spread import Done, Work, spread
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank
from nas_fpn.search import Noted

__all__ = ["Ablated", "Ablation", "explain_run"]

CHOSEN = "choosing simpler necks, and baselines at their cost"


@dataclass(frozen=True, slots=True)
class Ablated:
    """What a training in the proxy gave: scores on test, or why it has none."""

    scores: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ablation:
    """Train a variant in the proxy from ``seed``; ``of`` is the hash of all that decides it."""

    trainer: Trainer
    variant: Variant
    seed: int
    split: str
    of: str

    def __call__(self) -> Generator[float, None, Ablated]:
        """Yield the part done at each evaluation. A training that diverged says so in the end."""
        began, trainer = perf_counter(), self.trainer
        bank = cached_bank(trainer.bank)
        neck = build_neck(parse(self.variant.text, words=trainer.words), bank, seed=self.seed)
        steps, scores = 0, dict[str, float]()
        try:
            for report in train(neck, bank, trainer.settings, seed=self.seed, split="test"):
                steps, scores = report.steps, dict(report.scores)
                yield steps / trainer.settings.steps
        except FloatingPointError as fault:
            return Ablated({}, steps, perf_counter() - began, str(fault))
        scores.pop("loss", None)
        return Ablated(scores, steps, perf_counter() - began)


def explain_run(
    run: Run, trial: int | None = None, *, against: Path | None = None
) -> Generator[Step | Noted, None, Explained]:
    """Explain a neck found, by default the best; yield how far it is, return what is on record.

    Goes on where an earlier call ended. ``against`` is the folder of a run of the same question
    that the controller ``random_search`` searched: what its scores say of the search.

    Raises:
        RunError, DataError, SpaceError: for a run that has nothing to explain, and for settings,
            data or words that are not those of the record.
    """
    path = run.folder / "history.jsonl"
    if not path.is_file():
        raise RunError(f"{path}: no such file\nsearch first: {command_line('search', run.folder)}")
    with (
        Lock(run.folder / "history.lock") as lock,
        Record(path, lock=lock) as record,
        closing(_explain(run, record, trial, against)) as events,
    ):
        yield from events
    said = explained(read_history(path))
    assert said is not None
    return said


def _explain(
    run: Run, record: Record, trial: int | None, against: Path | None
) -> Generator[Step | Noted, None, None]:
    torch.set_num_threads(run.settings.proxy.threads)
    history, words = record.history, read_words(run)
    winner, control = explained_pair(run, history, trial)  # what is missing is said now
    random = None if against is None else _random_event(history, against)
    question = read_question(run)
    check_backbone(run.folder, history, question)
    prepared = yield from prepare(run, question.levels, warmup_neck=question.warmup_neck)
    bank = cached_bank(prepared.bank)
    check_same(history, bank, words)
    check_measured(bank, "test", run.settings.objectives[:1])
    of = asked(run, winner, control, bank)
    told = [event for event in history.events if event["event"] == "explain"]
    known = next((event for event in reversed(told) if event["of"] == of), None)
    if known is None:
        yield Step(CHOSEN, 0, 1)
        explanation = make_explanation(run, history, trial, bank, _frame(run, bank), words)
        record.append(explanation.event())
        yield Step(CHOSEN, 1, 1)
    else:
        explanation = on_record(known)
        if known is not told[-1]:
            record.append(known)  # tables show the last
    if random is not None and random not in history.events:
        record.append(random)
    trainer = Trainer(prepared.bank, run.settings.proxy, run.settings.seed, words=words)
    yield from _train_all(run, record, explanation, trainer, bank)


def _train_all(
    run: Run, record: Record, explanation: Explanation, trainer: Trainer, bank: Bank
) -> Iterator[Step | Noted]:
    """Train whatever is due, a seed of every neck before the next; each onto the record."""
    told = {event["of"] for event in record.history.events if event["event"] == "ablation"}
    work = {
        one.of: one
        for seed in explanation.seeds
        for variant in explanation.variants
        for one in [_ablation(variant, seed, explanation, trainer, bank)]
    }
    waiting = [one for of, one in work.items() if of not in told]
    total, done = len(work), len(work) - len(waiting)

    def due() -> Work[Ablated] | None:
        return waiting.pop(0) if waiting else None

    settings = run.settings
    for event in spread(due, workers=settings.explain.workers, threads=settings.proxy.threads):
        ablation = event.work
        assert isinstance(ablation, Ablation)
        if isinstance(event, Done):
            done += 1
            record.append(_event(ablation, event.result))
            yield Noted(_ended(ablation, event.result, explanation.objective, done, total))
        elif event.part < 1:
            stage = f"training {ablation.variant.label}, seed {ablation.seed}"
            yield Step(stage, round(100 * event.part), 100)


def _ablation(
    variant: Variant, seed: int, explanation: Explanation, trainer: Trainer, bank: Bank
) -> Ablation:
    of = training_of(variant.neck, seed, proxy=trainer.settings, bank=bank, words=trainer.words)
    return Ablation(trainer, variant, seed, explanation.split, of)


def _event(ablation: Ablation, result: Ablated) -> Event:
    return {
        "event": "ablation",
        "of": ablation.of,
        "neck": ablation.variant.neck,
        "text": ablation.variant.text,
        "seed": ablation.seed,
        "split": ablation.split,
        "steps": result.steps,
        "scores": dict(result.scores),
        "seconds": result.seconds,
        "reason": result.reason,
    }


def _ended(ablation: Ablation, result: Ablated, objective: str, done: int, total: int) -> str:
    said = f"{done}/{total} {ablation.variant.label}, seed {ablation.seed}"
    if result.reason is not None:
        return f"{said}: {result.reason}; its score counts as 0"
    score = result.scores.get(objective, 0.0)
    return f"{said}: {objective} {score:.4f} on test, {result.seconds:.0f} s"


def _frame(run: Run, bank: Bank) -> Frame:
    return Frame(
        detector=run.settings.detector,
        channels=bank.channels,
        num_classes=len(bank.categories),
        image_size=run.settings.proxy.image_size,
        device=pick_device(run.settings.proxy.device),
    )


def _random_event(history: History, folder: Path) -> Event:
    """The scores of a random search of the same question, in the order of its trials.

    Raises:
        RunError: where it is another question, or another controller searched.
    """
    path = folder / "history.jsonl"
    other = read_history(path)
    if not other.events:
        raise RunError(f"{path}: no such record\nsearch it first: {command_line('search', folder)}")
    ours, theirs = history.events[0], other.events[0]
    if theirs.get("settings", {}).get("controller") != "random_search":
        raise RunError(
            f"{folder}: was searched by {theirs.get('settings', {}).get('controller')!r}\n"
            'search one with controller = "random_search" in its run.toml'
        )
    for name, mine, its in (
        *((one, ours.get(one), theirs.get(one)) for one in ("space", "bank", "words")),
        *(
            (one, ours["settings"].get(one), theirs["settings"].get(one))
            for one in ("objective", "limits", "halving")
        ),
        ("proxy", *(but_last_digits(one["settings"].get("proxy")) for one in (ours, theirs))),
    ):
        if mine != its:
            raise RunError(
                f"{folder}: asks another question: its {name} differs\n"
                "copy the run.toml, and change nothing but the controller"
            )
    objective = ours["settings"].get("objective", "ap")
    first = objective if isinstance(objective, str) else objective[0]
    scores = [
        entry.outcome.scores[first]
        for entry in other.entries
        if not entry.is_baseline and entry.outcome is not None and entry.outcome.state == "complete"
    ]
    if not scores:
        raise RunError(
            f"{folder}: no trial is complete\nsearch on: {command_line('search', folder)}"
        )
    return {
        "event": "against",
        "run": folder.resolve().name,
        "controller": "random_search",
        "objective": first,
        "scores": scores,
    }
