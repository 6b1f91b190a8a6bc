"""The question wired and asked: prepare, search, and leave the best neck beside the record."""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass

import torch

from nas_fpn.detect.evaluate import Detections, average_precision
from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import (
    Architecture,
    Space,
    decode,
    encode,
    identity,
)
from nas_fpn.lock import Lock
from nas_fpn.proxy.bank import Bank
from nas_fpn.record import Entry, Genotype, History, Record, read_history
from nas_fpn.record import Event as Line
from nas_fpn.report import proxy_checks, trust_said
from nas_fpn.report.at_a_time import changed_workers
from nas_fpn.run.best import export_best
from nas_fpn.run.calibrate import keep_calibration
from nas_fpn.run.clock import minutes_on_record
from nas_fpn.run.code import check_backbone, code_files, keep_code
from nas_fpn.run.header import known_header, make_header
from nas_fpn.run.limits import limits_of
from nas_fpn.run.live import PATIENCE, followed, views
from nas_fpn.run.machine import check_gpus
from nas_fpn.run.packed import Packed, settle
from nas_fpn.run.paused import checkpoint_folder, tidied
from nas_fpn.run.prepare import Step, prepare
from nas_fpn.run.prior import Prior, prior_names, read_prior
from nas_fpn.run.question import Question, make_problem, read_question
from nas_fpn.run.settings import Run, RunSettings
from nas_fpn.run.started import Drive, Started, started_by
from nas_fpn.run.timed import (
    Planned,
    in_time,
    learning,
    minutes_wanted,
    over_event,
    plan_event,
    planned_steps,
    run_clock,
    start_plan,
    within,
)
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank, neck_cost
from nas_fpn.run.verdict import Checked, check_on_test
from nas_fpn.search import (
    Baseline,
    Controller,
    Loop,
    NeckFacts,
    Noted,
    Plan,
    Problem,
    Progress,
    budget_on_record,
    check_header,
    load_controller,
    search_here,
)

__all__ = ["Begun", "Checked", "Drive", "Event", "drive_here", "search_run", "trials_wanted"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The search itself starts now, or goes on.

    ``trials`` counts the controller's; ``entries`` are those on record already; ``notes`` say
    which splits were made; every answer repeats them; ``checks`` are the events "verdict" so far.
    """

    trials: int
    baselines: int
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    checks: tuple[Line, ...] = ()


Event = Step | Begun | Packed | Planned | Checked | Progress


def drive_here(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
    """Train one trial after another in this process; works where Ray is not installed."""
    return search_here(loop, trainer, seconds=run.settings.trial_seconds)


def search_run(
    run: Run,
    *,
    trials: str | None = None,
    minutes: str | None = None,
    began: float | None = None,
    accept_drift: bool = False,
    drive: Drive = drive_here,
    started: Started | None = None,
) -> Generator[Event, None, None]:
    """Search, or go on; then check the best on test and export it to ``best/``. Yields events.

    ``trials`` is a new budget: "80" in all, or "+100" beyond what the run was last asked for; so
    are ``minutes``, whose clock starts at ``began``, as ``time.monotonic()`` has it; None: now.
    ``drive`` trains the trials: ``drive_here``, or ``drive_on_ray`` of ``nas_fpn.run.on_ray``.
    ``started`` is what is started for it before time is planned; None: what it names itself.

    Raises:
        SpaceError, DataError, RunError: for wrong input, a record that belongs to another
            question, an objective that val cannot measure, and a resume whose proposals differ
            from the record.
        FloatingPointError: when the backbone's warm-up diverged.
        OSError: where the run's folder takes no more; what is on record stays.
    """
    began = time.monotonic() if began is None else began
    # Before the bank: two would write it at once.
    with Lock(run.folder / "history.lock") as lock, ExitStack() as sessions:
        if lock.left is not None:
            yield Noted(f"the search before ended unawares ({lock.left}); it goes on")
        asked = (trials, minutes)
        spread = (drive, started or started_by(drive), sessions)
        yield from _search(run, lock, asked, began, accept_drift=accept_drift, spread=spread)


def _search(
    run: Run,
    lock: Lock,
    asked: tuple[str | None, str | None],
    began: float,
    *,
    accept_drift: bool,
    spread: tuple[Drive, Started, ExitStack],
) -> Generator[Event, None, None]:
    torch.set_num_threads(run.settings.proxy.threads)
    trials, minutes = asked
    drive, started, sessions = spread
    settings, ray, device = run.settings, run.settings.ray, run.settings.proxy.device
    history_path = run.folder / "history.jsonl"
    history = read_history(history_path)
    wanted = trials_wanted(settings, budget_on_record(history), trials)
    minutes_asked = minutes_wanted(run, minutes_on_record(history), minutes)
    clock = run_clock(run, history, minutes_asked, began=began)
    question = read_question(run)
    if drive is not drive_here:
        check_gpus(run)
    if not accept_drift:  # now, not after a warm-up
        check_backbone(run.folder, history, question)
        check_header(history_path, history, known_header(run, question))
    space = question.space
    prior = _prior(run, question, history)

    def ask(in_channels: Mapping[int, int]) -> tuple[Problem, Controller]:
        problem = make_problem(
            space,
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

    ask(dict.fromkeys(question.levels, 1))  # its settings are wrong now, not after the warm-up
    steps_to = prepare(run, question.levels, warmup_neck=question.warmup_neck)
    prepared = yield from within(steps_to, None if history.events else clock, run)
    notes = (*prepared.notes, *(one.note for one in question.baselines), *prior.notes)
    bank = cached_bank(prepared.bank)
    _check_objectives(settings, bank)
    problem, controller = ask(bank.channels)
    packed = Packed(workers=0)
    if drive is not drive_here:
        run, packed = yield from settle(
            run,
            question,
            prepared.bank,
            history,
            started=started,
            sessions=sessions,
            timed=clock is not None and clock.is_to_plan,
        )
        settings = run.settings
        torch.set_num_threads(settings.proxy.threads)
        yield packed
    planned, most = None, None
    if clock is not None:
        most = settings.most_trials if trials is None else wanted
        run, planned, wanted = yield from start_plan(
            run, question, bank, clock, history, most, packed=packed
        )
        settings = run.settings

    def facts(genotype: Genotype) -> NeckFacts:
        return _facts(decode(space, genotype), bank)

    plan = Plan(
        problem=problem,
        facts=facts,
        trials=wanted,
        baselines=tuple(
            Baseline(one.name, _facts(one.neck, bank), _genotype(space, one.neck))
            for one in question.baselines
        ),
        prior=prior.names,
        limits=_limits(settings),
        halving=settings.halving,
        accept_drift=accept_drift,
        clock=clock,
        open_ended=clock is not None and most is None,
    )
    trainer = Trainer(
        prepared.bank,
        settings.proxy,
        settings.seed,
        costs=tuple(name[1:] for name in settings.objectives if name.startswith("-")),
        soft=settings.soft,
        rungs=() if plan.halving is None else plan.halving.rungs,
        words=space.words,
        checkpoints=checkpoint_folder(run),
        limits=limits_of(run),
    )
    _prove_measure(run, trainer, question, bank)
    with Record(history_path, lock=lock) as record:
        if record.history.torn is not None:
            yield Noted(record.history.torn)
        header = make_header(run, question, bank=bank, notes=notes, trials=wanted)
        header["settings"]["proxy"]["device"] = device  # whatever "auto" is where trials train
        header["machine"]["ray"] = ray.model_dump(mode="json")  # as it was asked
        plan_made = None if planned is None else planned.plan
        if kept := planned_steps(history, plan_made):
            header["plan"] = dict(kept)
        if prior.genotypes:
            header["prior"] = json.loads(json.dumps(asdict(prior)))  # as the record gives it back
        loop = Loop(record, controller, plan, header=header)
        keep_code(run.folder, code_files(question))
        keep_calibration(run.folder, record)
        checks = proxy_checks(history.events)
        workers = changed_workers(history, settings.ray.workers, asked=ray.workers)
        if (line := packed.line or workers) is not None:
            record.append(line)
        if plan_made is not None:
            record.append(plan_event(plan_made))
        if planned is not None:
            yield planned
        yield Begun(wanted, len(plan.baselines), loop.entries, notes, checks)

        def steps() -> Generator[Progress | Step | Checked, None, None]:
            yield from tidied(
                checkpoint_folder(run), loop, learning(drive(run, loop, trainer), clock)
            )
            sessions.close()  # the check trains here
            yield from check_on_test(
                run, record, record.history, loop.entries, trainer, clock=clock
            )
            if clock is not None and not clock.is_closed and (over := loop.ending()).late:
                record.append(over_event(clock, over.trained))

        with closing(steps()) as trained:  # an interrupt stops the workers at once
            patience = clock.to_end if clock is not None else lambda: PATIENCE
            yield from followed(history_path, trained, views(run), patience=patience)
    history = read_history(history_path)
    if (trust := trust_said(history)) is not None:
        yield Noted(trust)
    yield from in_time(export_best(run, history, trainer, notes=notes), clock, run.folder)


def trials_wanted(settings: RunSettings, on_record: int | None, asked: str | None) -> int:
    """The budget: of the command line, else the larger of the file and the record.

    Raises:
        RunError: for an ``asked`` that is neither a number nor "+" and a number.
    """
    before = max(settings.budget.trials, on_record or 0)
    if asked is None:
        return before
    if not asked.removeprefix("+").isdecimal() or int(asked) == 0:
        raise RunError(f"--trials = {asked!r}: should be a number of trials, or +100 for more")
    return before + int(asked) if asked.startswith("+") else int(asked)


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


def _check_objectives(settings: RunSettings, bank: Bank) -> None:
    """Every AP that is told or checked can be measured: on val, and the first on test."""
    nothing = Detections(*(torch.zeros(shape) for shape in ((0,), (0, 4), (0,), (0,))))
    told = [name for name in settings.objectives if not name.startswith("-")]
    for split, wanted in {"val": told, "test": told[: settings.confirm.seeds and 1]}.items():
        known = average_precision(bank.truth[split], nothing, categories=bank.categories)
        if missing := [name for name in wanted if name not in known]:
            there = ", ".join(name for name in known if "/" not in name) or "no AP at all"
            raise RunError(
                f"objective: {split} has no object to measure {', '.join(missing)} on; "
                f"there is {there}\n"
                "small is below 32 x 32 pixels of the stored image, large from 96 x 96; "
                f"take another objective, or other images for {split}"
            )


def _genotype(space: Space, neck: Architecture) -> Genotype | None:
    try:
        return encode(space, neck)
    except SpaceError:  # no member of the space: a control all the same
        return None


def _prove_measure(run: Run, trainer: Trainer, question: Question, bank: Bank) -> None:
    """A command that cannot measure is wrong now, not in every trial; where trials train is here.

    Raises:
        RunError: as the command would in a trial.
    """
    if (
        trainer.limits is not None
        and trainer.limits.command
        and run.settings.ray.address == "local"
    ):
        neck = build_neck(question.warmup_neck, bank, seed=run.settings.seed)
        trainer.limits.measure(neck, bank, run.settings.proxy, seed=run.settings.seed)


def _limits(settings: RunSettings) -> dict[str, float]:
    """The limits by the names of the cost."""
    limits = {}
    if settings.limits.params_m is not None:
        limits["params"] = settings.limits.params_m * 1e6
    if settings.limits.gmacs is not None:
        limits["macs"] = settings.limits.gmacs * 1e9
    return limits
