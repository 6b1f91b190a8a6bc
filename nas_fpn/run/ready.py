"""All that a search needs before its first trial: what is wrong shows here, and nothing is trained.

In the order in which it can be known: what the settings say, what the record says, the data and the
bank, how many trials train at a time, and what fits into the time.
"""

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import Architecture, Space, decode, encode, identity
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.train import pick_device
from nas_fpn.record import Genotype, History
from nas_fpn.run.clock import RunClock, minutes_on_record
from nas_fpn.run.code import check_backbone
from nas_fpn.run.header import known_header
from nas_fpn.run.limits import limits_of
from nas_fpn.run.machine import check_gpus
from nas_fpn.run.packed import Packed, settle
from nas_fpn.run.paused import checkpoint_folder
from nas_fpn.run.prepare import Step, check_measured, prepare
from nas_fpn.run.prior import Prior, prior_names, read_prior
from nas_fpn.run.question import Question, make_problem, read_question
from nas_fpn.run.settings import Run, RunSettings
from nas_fpn.run.short import in_the_time, within
from nas_fpn.run.started import Started
from nas_fpn.run.timed import Planned, minutes_wanted, run_clock, start_plan
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank, neck_cost
from nas_fpn.search import (
    Baseline,
    Controller,
    NeckFacts,
    Plan,
    Problem,
    budget_on_record,
    check_header,
    load_controller,
)

__all__ = ["Asked", "Ready", "Spread", "make_ready", "prove_measure", "repeats", "trials_wanted"]

MEASURING = "the command of [limits] measure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command asks beyond its ``run.toml``; ``began`` is when, by ``time.monotonic()``."""

    trials: str | None
    minutes: str | None
    began: float
    accept_drift: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """What is started for trials that train in other processes, until ``sessions`` end."""

    started: Started
    sessions: ExitStack


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A search that can begin: ``run`` with all that was decided, and what it is asked and with."""

    run: Run
    question: Question
    bank: Bank
    notes: tuple[str, ...]
    prior: Prior
    packed: Packed
    planned: Planned | None
    clock: RunClock | None
    plan: Plan
    controller: Controller
    trainer: Trainer


def make_ready(
    run: Run, history: History, asked: Asked, spread: Spread | None
) -> Generator[Step | Packed, None, Ready]:
    """Check, prepare and decide; ``spread`` is None where trials train in this process.

    Raises as :func:`nas_fpn.run.search_run` does.
    """
    torch.set_num_threads(run.settings.proxy.threads)
    wanted = trials_wanted(run.settings, budget_on_record(history), asked.trials)
    minutes = minutes_wanted(run, minutes_on_record(history), asked.minutes)
    clock = run_clock(run, history, minutes, began=asked.began)
    question = read_question(run)
    if spread is not None:
        check_gpus(run)
    if not asked.accept_drift:
        check_backbone(run.folder, history, question)
        check_header(run.folder / "history.jsonl", history, known_header(run, question))
    prior = _prior(run, question, history)
    _ask(run, question, prior, dict.fromkeys(question.levels, 1))  # are its settings wrong?
    steps_to = prepare(run, question.levels, warmup_neck=question.warmup_neck)
    prepared = yield from within(steps_to, None if history.events else clock, run)
    bank = cached_bank(prepared.bank)
    told = [name for name in run.settings.objectives if not name.startswith("-")]
    check_measured(bank, "val", told)
    check_measured(bank, "test", told[: run.settings.confirm.seeds and 1])
    problem, controller = _ask(run, question, prior, bank.channels)
    planning = clock if clock is not None and clock.is_to_plan else None
    packed = Packed(workers=0)
    if spread is not None:
        run, packed = yield from settle(
            run,
            question,
            prepared.bank,
            history,
            started=spread.started,
            sessions=spread.sessions,
            timed=planning is not None,
            clock=planning,
        )
        torch.set_num_threads(run.settings.proxy.threads)
        yield packed
    planned, most = None, None
    if clock is not None:
        most = run.settings.most_trials if asked.trials is None else wanted
        run, planned, wanted = yield from start_plan(
            run, question, bank, clock, history, most, packed=packed
        )
    plan = Plan(
        problem=problem,
        facts=lambda genotype: _facts(decode(question.space, genotype), bank),
        trials=wanted,
        baselines=tuple(
            Baseline(one.name, _facts(one.neck, bank), _genotype(question.space, one.neck))
            for one in question.baselines
        ),
        prior=prior.names,
        limits=_limits(run.settings),
        halving=run.settings.halving,
        accept_drift=asked.accept_drift,
        repeats=repeats(run.settings, here=spread is None),
        clock=clock,
        open_ended=clock is not None and most is None,
    )
    trainer = _trainer(run, question, prepared.bank)
    prove_measure(run, trainer, question, bank, clock=planning)
    return Ready(
        run=run,
        question=question,
        bank=bank,
        notes=(*prepared.notes, *(one.note for one in question.baselines), *prior.notes),
        prior=prior,
        packed=packed,
        planned=planned,
        clock=clock,
        plan=plan,
        controller=controller,
        trainer=trainer,
    )


def trials_wanted(settings: RunSettings, on_record: int | None, asked: str | None) -> int:
    """The budget: of the command line, else the larger of the file and the record.

    "+N" adds to the record, which has what was asked for last; to the file where nothing is yet.

    Raises:
        RunError: for an ``asked`` that is neither a number nor "+" and a number.
    """
    in_file = settings.budget.trials
    if asked is None:
        return max(in_file, on_record or 0)
    if not asked.removeprefix("+").isdecimal() or int(asked) == 0:
        raise RunError(f"--trials = {asked!r}: should be a number of trials, or +100 for more")
    return (on_record or in_file) + int(asked) if asked.startswith("+") else int(asked)


def _ask(
    run: Run, question: Question, prior: Prior, in_channels: Mapping[int, int]
) -> tuple[Problem, Controller]:
    """The problem over such a bank, and the controller that is asked."""
    settings = run.settings
    problem = make_problem(
        question.space,
        in_channels,
        image_size=settings.proxy.image_size,
        objectives=settings.told,
        prior=prior.genotypes,
    )
    controller = load_controller(
        question.controller_file,
        problem,
        source=question.controller_source,
        seed=settings.seed,
        settings={k: v for k, v in settings.controller_settings.items() if k != "prior"},
    )
    return problem, controller


def _trainer(run: Run, question: Question, bank: Path) -> Trainer:
    settings, halving = run.settings, run.settings.halving
    return Trainer(
        bank,
        settings.proxy,
        settings.seed,
        costs=tuple(name[1:] for name in settings.objectives if name.startswith("-")),
        soft=settings.soft,
        rungs=() if halving is None else halving.rungs,
        words=question.space.words,
        checkpoints=checkpoint_folder(run),
        limits=limits_of(run),
    )


def _prior(run: Run, question: Question, history: History) -> Prior:
    """What the run begins with: of a resumed one what it began with, from its record."""
    if history.events and prior_names(run):
        begun = history.events[0].get("prior", {})
        return Prior(
            tuple(tuple(genotype) for genotype in begun.get("genotypes", ())),
            tuple(begun.get("names", ())),
            tuple(begun.get("notes", ())),
        )
    return read_prior(run, question.space, question.frame)


def _facts(architecture: Architecture, bank: Bank) -> NeckFacts:
    price = asdict(neck_cost(architecture, bank))
    return NeckFacts(identity(architecture), str(architecture), price)


def _genotype(space: Space, neck: Architecture) -> Genotype | None:
    try:
        return encode(space, neck)
    except SpaceError:  # no member of the space: a control all the same
        return None


def repeats(settings: RunSettings, *, here: bool) -> bool:
    """Whether trials train on the CPU, where the same training gives the same numbers."""
    if here or settings.ray.workers == 0:
        return pick_device(settings.proxy.device).type == "cpu"
    return settings.proxy.device == "cpu" or not settings.ray.gpus_per_trial


def _limits(settings: RunSettings) -> dict[str, float]:
    """The limits by the names of the cost."""
    limits = {}
    if settings.limits.params_m is not None:
        limits["params"] = settings.limits.params_m * 1e6
    if settings.limits.gmacs is not None:
        limits["macs"] = settings.limits.gmacs * 1e9
    return limits


def prove_measure(
    run: Run, trainer: Trainer, question: Question, bank: Bank, *, clock: RunClock | None
) -> None:
    """A command that cannot measure is wrong now, not in every trial; where trials train is here.

    Raises:
        RunError: as the command would in a trial, and where it takes all of the clock's time.
    """
    if (
        trainer.limits is not None
        and trainer.limits.command
        and run.settings.ray.address == "local"
    ):
        with in_the_time(clock, run, MEASURING):
            neck = build_neck(question.warmup_neck, bank, seed=run.settings.seed)
            trainer.limits.measure(neck, bank, run.settings.proxy, seed=run.settings.seed)
