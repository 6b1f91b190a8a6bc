"""The verdict: finalists and baselines trained end to end with equal seeds, until it is decided.

Every training and the verdict are events of the record; a confirm that was killed goes on, and
trains nothing twice. Scores are on test, which nothing was chosen on.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from time import monotonic

import torch

from nas_fpn.errors import RunError, command_line
from nas_fpn.language import Words
from nas_fpn.lock import Lock
from nas_fpn.proxy.bank import Bank
from nas_fpn.record import Event, History, Record
from nas_fpn.report import decide
from nas_fpn.run.code import check_backbone
from nas_fpn.run.conclude import conclude, earlier_comparisons, scores_by_neck
from nas_fpn.run.confirmed_weights import keep_confirmed
from nas_fpn.run.contest import (
    Contender,
    Contest,
    asked,
    candidates,
    contest_event,
    contest_on_record,
    make_contest,
)
from nas_fpn.run.equal_cost import Frame
from nas_fpn.run.own_words import read_words
from nas_fpn.run.prepare import Step, check_measured, prepare
from nas_fpn.run.question import read_question
from nas_fpn.run.rescreen import finalists
from nas_fpn.run.settings import Run
from nas_fpn.run.spread import Done, Work, spread
from nas_fpn.run.train import run_train
from nas_fpn.run.trainer import Trainer, cached_bank
from nas_fpn.run.trainings import (
    Common,
    Trained,
    Training,
    Trains,
    make_training,
    training_event,
    trainings_on_record,
)
from nas_fpn.search import Noted
from nas_fpn.training import pick_device

__all__ = ["Confirmed", "check_same", "confirm_run"]

COSTS = "measuring what they cost"
UNITS = {"params_m": "M parameters", "gmacs": "G multiply-adds", "latency_ms": "ms"}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The verdict end to end is on record, as this event "verdict"."""

    line: Event


def confirm_run(
    run: Run, *, train: Trains = run_train
) -> Generator[Step | Noted | Confirmed, None, None]:
    """Compare the best necks of a run with its best baselines, end to end; yield how far it is.

    Goes on where an earlier call ended, and only says the verdict again where nothing is left to
    do. Ends with :class:`Confirmed`; ``best/`` then holds the neck that the verdict names, with its
    weights from a detector. ``train`` does a training.

    Raises:
        RunError, DataError, SpaceError: for a run that has nothing to compare, and for settings,
            data or words that are not those of the record.
    """
    path = run.folder / "history.jsonl"
    if not path.is_file():
        raise RunError(f"{path}: no such file\nsearch first: {command_line('search', run.folder)}")
    with (
        Lock(run.folder / "history.lock") as lock,
        Record(path, lock=lock) as record,
        closing(_confirm(run, record, train)) as events,
    ):
        yield from events


def _confirm(
    run: Run, record: Record, train: Trains
) -> Generator[Step | Noted | Confirmed, None, None]:
    began = monotonic()
    torch.set_num_threads(run.settings.training.threads)
    history, words = record.history, read_words(run)
    candidates(history, run.settings.objectives)  # that there is nothing to compare is said now
    question = read_question(run)
    check_backbone(run.folder, history, question)
    prepared = yield from prepare(run, question.levels, warmup_neck=question.warmup_neck)
    bank = cached_bank(prepared.bank)
    check_same(history, bank, words)
    check_measured(bank, "test", run.settings.objectives[:1])
    of = asked(run, bank.key, history)
    contest = contest_on_record(history, of)
    if contest is None:
        contest = yield from _begin(run, record, bank, words, of=of)
    common = Common.of_run(run, bank, words, warmed=prepared.warmed)
    told = trainings_on_record(history)
    yield from _train_all(run, record, contest, common, told, train, began=began)
    verdict = yield from conclude(run, contest, common, told, bank)
    if earlier := earlier_comparisons(history, of):
        verdict = {**verdict, "earlier": earlier}
    said = [event for event in history.events if event["event"] == "verdict"][-1:]
    if said and {**said[0], "seconds": 0} == {**verdict, "seconds": 0}:
        line = said[0]
    else:
        line = {**verdict, "seconds": monotonic() - began}
        record.append(line)
    lines = (*history.events, *(one for one in told.values() if one not in history.events), line)
    keep_confirmed(run, replace(history, events=lines), words=words)
    yield Confirmed(line)


def _begin(
    run: Run, record: Record, bank: Bank, words: Words, *, of: str
) -> Generator[Step | Noted, None, Contest]:
    """Choose who is compared, and put it on record."""
    settings = run.settings
    trainer = Trainer(bank.path, settings.proxy, settings.seed, words=words)
    found = candidates(record.history, settings.objectives)
    chosen = yield from finalists(run, found, record, record.history, trainer)
    yield Step(COSTS, 0, 1)
    frame = Frame(
        detector=settings.detector,
        channels=bank.channels,
        num_classes=len(bank.categories),
        image_size=settings.training.image_size,
        device=pick_device(settings.training.device),
    )
    contest = make_contest(run, chosen, record.history, frame, of=of, words=words)
    record.append(contest_event(contest))
    yield Step(COSTS, 1, 1)
    for one in contest.contenders:
        yield Noted(_described(one))
    return contest


def _train_all(
    run: Run,
    record: Record,
    contest: Contest,
    common: Common,
    told: dict[str, Event],
    train: Trains,
    *,
    began: float,
) -> Generator[Step | Noted, None, None]:
    """Train whatever is due; ``told`` gains the events, by what decides each."""
    settings = run.settings.confirm
    begun: set[str] = set()
    seconds = [event["seconds"] for event in told.values()]

    def due() -> Work[Trained] | None:
        longest = max(seconds, default=0.0)
        if settings.minutes is not None and monotonic() - began + longest > 60 * settings.minutes:
            return None
        for one in decide(scores_by_neck(contest, common, told), contest.plan).due:
            who = contest.contender(one.neck)
            training = make_training(who, contest.seeds[one.place], common, train=train)
            if training.of not in told and training.of not in begun:
                begun.add(training.of)
                return training
        return None

    threads = run.settings.training.threads
    for event in spread(due, workers=settings.workers, threads=threads):
        training = event.work
        assert isinstance(training, Training)
        who = contest.contender(training.neck)
        if isinstance(event, Done):
            line = training_event(training, event.result, who)
            record.append(line)
            told[training.of] = line
            seconds.append(event.result.seconds)
            yield Noted(_ended(line, who, contest.objective))
        elif event.part < 1:  # its end is worth a line
            stage = f"training {_named(who)} end to end, seed {training.job.seed}"
            yield Step(stage, round(100 * event.part), 100)


def _described(who: Contender) -> str:
    """What is compared, as a line of the log."""
    cost = ", ".join(f"{who.cost[key]:.3g} {unit}" for key, unit in UNITS.items())
    was = "" if who.was is None else f", re-sized from width {who.was['width']}"
    return f"{who.role}: {_named(who)}, width {who.width}{was}; neck and head {cost}"


def _named(who: Contender) -> str:
    return (
        f"{who.name} ({who.neck})" if who.role == "control" else f"{who.neck} of trial {who.trial}"
    )


def _ended(line: Event, who: Contender, objective: str) -> str:
    said = f"{_named(who)}, seed {line['seed']}"
    if line["reason"] is not None:
        return f"{said}: {line['reason']}; its score counts as 0"
    score = line["scores"].get(objective, 0.0)
    return f"{said}: {objective} {score:.4f} on test, {line['seconds']:.0f} s"


def check_same(history: History, bank: Bank, words: Words) -> None:
    """Raise RunError unless the features and the words are those that the search had."""
    header = history.header
    if header.get("bank") != bank.key:
        raise RunError(
            "data, backbone or [proxy] are not those that this run was searched with\n"
            "put them back, or search again in another folder"
        )
    if list(header.get("words", {}).values()) != [file.sha256 for file in words.files]:
        raise RunError(
            "the files of own words are not those that this run was searched with\nput them back"
        )
