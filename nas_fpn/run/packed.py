"""How many trials are trained at a time: as ``[ray]`` says, or as is measured before the first.

What was measured when a run was begun stands on its record, and a session that goes on takes it
from there. On another machine the threads of a trial stay, since the last digits of its scores
hang on them; how many trials there is room for is found anew, and so it is where the GPUs of a
trial are asked for otherwise.
"""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas_fpn.errors import RunError
from nas_fpn.language import Architecture
from nas_fpn.proxy.feeding import let_go
from nas_fpn.proxy.packing import SECONDS, Packing, best_packing, measure_packing
from nas_fpn.record import Event, History
from nas_fpn.run.clock import RunClock
from nas_fpn.run.machine import Machine, Share, refuse_more_gpus, share_of, this_machine
from nas_fpn.run.plan_measure import timed_neck
from nas_fpn.run.prepare import Step
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run
from nas_fpn.run.short import has_room, in_the_time
from nas_fpn.run.started import Room, Started
from nas_fpn.run.trainer import cached_bank
from nas_fpn.run.tried import (
    Tried,
    TryOut,
    as_kept,
    as_set,
    candidates,
    packing_line,
    said,
    try_all,
)

__all__ = ["Packed", "pack", "packing_on_record", "settle", "workers_of"]

STAGE, STARTING = "trying how many trials at a time are fastest", "starting Ray"
ON_CPU = 'trials train on the CPU: [ray] gpus_per_trial = 0; "auto" gives them GPUs'
NONE_THERE = (
    "trials train on the CPU: Ray knows of no GPU in the cluster; where nodes that have one are "
    "still to join, set [ray] gpus_per_trial = 1"
)
NOT_STARTED = (
    '[ray] "auto" of workers and gpus_per_trial is what a cluster has room for, and nobody has '
    "asked it\ngive started=ray_started of nas_fpn.run.on_ray, or numbers"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """So many trials at a time, decided; ``text`` says why to a person.

    ``line`` is for the record, None where that has it. Where it was tried out, ``neck`` is what was
    trained, ``step_s`` the seconds of a step in each worker while all train, and ``ready_s`` what
    the processes took to start.
    """

    workers: int
    text: str | None = None
    line: Event | None = None
    neck: Architecture | None = None
    step_s: float | None = None
    ready_s: float | None = None


def settle(
    run: Run,
    question: Question,
    bank: Path,
    history: History,
    *,
    started: Started,
    sessions: ExitStack,
    timed: bool,
    clock: RunClock | None,
) -> Generator[Step, None, tuple[Run, Packed]]:
    """Decide how many trials train at a time, and start what spreads them; the run that says so.

    ``sessions`` ends that again. On this machine see :func:`pack`; of a cluster as many as there is
    room for at the moment, on the threads of ``[proxy]``. Trials that no GPU is given to train on
    the CPU, and whatever is measured of them is then measured there. All of it ends in the time of
    ``clock``, if there is one.

    Raises:
        RunError: where none could be tried, trials take GPUs that are not there, Ray cannot start,
            or the time is too short for that.
    """
    ray, seed = run.settings.ray, run.settings.seed
    if ray.workers == 0:
        return run, Packed(workers=0)
    if ray.address != "local":
        with in_the_time(clock, run, STARTING):
            there = sessions.enter_context(started(run))
        return _on_cluster(run, there)
    run, packed = yield from pack(
        run,
        lambda: timed_neck(question, cached_bank(bank), seed=seed),
        bank,
        history,
        machine=this_machine(run),
        timed=timed,
        clock=clock,
    )
    with in_the_time(clock, run, STARTING):
        sessions.enter_context(started(run))
    return run, packed


def _on_cluster(run: Run, there: Room | None) -> tuple[Run, Packed]:
    ray, proxy = run.settings.ray, run.settings.proxy
    if there is None:
        if ray.workers == "auto" or ray.gpus_per_trial == "auto":
            raise RunError(NOT_STARTED)
        there = Room(ray.workers, ray.gpus_per_trial)
    workers = max(there.trials, 1) if ray.workers == "auto" else ray.workers
    best, share = Packing(workers, proxy.threads), there.gpus_per_trial
    told: list[str] = []
    line: Event | None = None
    if ray.workers == "auto":
        told.append(f"{said(best, share)}: as many as the cluster has room for")
        line = packing_line(best, share, Machine(0), asked=(ray.cpus_per_trial, ray.gpus_per_trial))
    elif share and ray.gpus_per_trial == "auto":
        told.append(said(best, share))
    if share == 0 and proxy.device == "auto":
        told.append(ON_CPU if ray.gpus_per_trial == 0 else NONE_THERE)
    if share == 0 and (ray.gpus_per_trial == 0 or torch.cuda.is_available()):
        run = _on_cpu(run)
    run = _decided(run, workers=workers, share=share, threads=proxy.threads)
    return run, Packed(workers=workers, text="\n".join(told) or None, line=line)


def pack(
    run: Run,
    neck: Callable[[], Architecture],
    bank: Path,
    history: History,
    *,
    machine: Machine,
    timed: bool,
    clock: RunClock | None = None,
    try_out: TryOut | None = None,
) -> Generator[Step, None, tuple[Run, Packed]]:
    """Decide how many trials of a run train at a time on this machine; the run that says so.

    ``neck()``, of shipped words, is what is trained for it, for a few seconds with each number.
    ``timed``: whoever plans wants to know how fast each of them is beside the others, also where
    there is nothing to choose. As many are tried as the time of ``clock`` leaves room for.
    ``try_out`` measures one packing; None: by training.

    Raises:
        RunError: where none could be tried, not even one in the time, or a trial takes more GPUs
            than there are.
    """
    asked = run.settings.ray.workers
    kept = packing_on_record(history)
    wanted = _wanted(run, kept)
    here = replace(machine, gpus=0) if wanted == 0 else machine  # what trials have of it
    hidden = here.gpus < machine.gpus
    if hidden:
        run = _on_cpu(run)
    if wanted != "auto":
        refuse_more_gpus(run, wanted, here.gpus)
    is_kept = False
    if asked != "auto":
        those: tuple[Packing, ...] = (as_set(run, asked, wanted, here),)
    elif kept is not None and _is_same(kept, here, wanted, run.settings.ray.cpus_per_trial):
        is_kept = True
        those = (as_kept(kept, run, here),)
    else:
        those = candidates(run, wanted, here, is_begun=bool(history.events))
    tried, trained, ready = Tried(), None, None
    if len(those) > 1 or (timed and those[0].workers > 1):
        yield Step(STAGE, 0, 1)
        trained = neck()
        let_go()  # what the warm-up left, so that workers find the room that they will have
        with in_the_time(clock, run, STAGE):
            tried = try_all(
                those,
                try_out or _training(run, trained, bank),
                has_room=lambda seconds: has_room(clock, seconds),
            )
        yield Step(STAGE, 1, 1)
        ready = max(tried.seconds - SECONDS, 0.0)
    best = best_packing(tried.packings or those)
    rate = best.steps_per_second
    share = share_of(best.workers, here.gpus) if wanted == "auto" else wanted
    if kept is not None and is_kept:
        share = kept["gpus_per_trial"]
    told: list[str] = []
    line: Event | None = None
    if asked == "auto":
        told.append(said(best, share, tried) + (", as on record" if is_kept else ""))
        each = run.settings.ray.cpus_per_trial, wanted
        line = None if is_kept else packing_line(best, share, here, tried, asked=each)
    elif best.workers < asked:
        told.append(f"{said(best, share)}: there are no GPUs for [ray] workers = {asked}")
    elif not here.gpus and best.workers * best.threads > here.cores:
        told.append(f"{said(best, share)}: they share {here.cores} cores, which makes each slower")
    elif share and wanted == "auto":
        told.append(said(best, share))
    if hidden:
        told.append(ON_CPU)
    packed = Packed(
        workers=best.workers,
        text="\n".join(told) or None,
        line=line,
        neck=trained,
        step_s=best.workers / rate if rate else None,
        ready_s=ready,
    )
    return _decided(run, workers=best.workers, share=share, threads=best.threads), packed


def _decided(run: Run, *, workers: int, share: float, threads: int) -> Run:
    settings = run.settings
    ray = settings.ray.model_copy(update={"workers": workers, "gpus_per_trial": share})
    proxy = settings.proxy.model_copy(update={"threads": threads})
    return replace(run, settings=settings.model_copy(update={"ray": ray, "proxy": proxy}))


def _on_cpu(run: Run) -> Run:
    """The run without the CUDA device that "auto" would take: Ray may show one it gives nobody."""
    proxy = run.settings.proxy
    if proxy.device == "auto":
        proxy = proxy.model_copy(update={"device": "cpu"})
    return replace(run, settings=run.settings.model_copy(update={"proxy": proxy}))


def _wanted(run: Run, kept: Event | None) -> Share:
    """GPUs of a trial on this machine, as the settings say; 0 where they are not to train on one.

    Before there was "auto" it was 0 that left them open, as files and records have it.
    """
    device, share = run.settings.proxy.device, run.settings.ray.gpus_per_trial
    if device == "cpu":
        return 0.0
    was_open = kept is not None and "gpus_asked" not in kept and kept["gpus_per_trial"] > 0
    return "auto" if share == 0 and (was_open or device == "cuda") else share


def _is_same(kept: Event, machine: Machine, wanted: Share, cpus: float) -> bool:
    """Whether what is on record was decided for such a machine, asked for so."""
    if (kept["cores"], kept["gpus"]) != (machine.cores, machine.gpus):
        return False
    if kept.get("cpus_asked", cpus) != cpus:
        return False
    if not machine.gpus:
        return True
    if "gpus_asked" in kept:
        return bool(kept["gpus_asked"] == wanted)
    return wanted in ("auto", kept["gpus_per_trial"])  # of a record that is older


def _training(run: Run, neck: Architecture, bank: Path) -> TryOut:
    settings, seed = run.settings.proxy, run.settings.seed

    def measure(one: Packing) -> Packing:
        return measure_packing(bank, str(neck), settings, candidates=(one,), seed=seed)[0]

    return measure


def packing_on_record(history: History) -> Event | None:
    """What was last decided; None where nobody has."""
    found = [event for event in history.events if event["event"] == "packing"]
    return found[-1] if found else None


def workers_of(run: Run, history: History) -> int:
    """Trials at a time, by the settings or by the record; 1 where nothing says it yet."""
    asked = run.settings.ray.workers
    if asked != "auto":
        return asked
    kept = packing_on_record(history)
    return 1 if kept is None else int(kept["workers"])
