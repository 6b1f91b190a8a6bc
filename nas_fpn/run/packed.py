"""How many trials are trained at a time: as ``[ray]`` says, or as is measured before the first.

What was measured when a run was begun stands on its record, and a session that goes on takes it
from there. On another machine the threads of a trial stay, since the last digits of its scores
hang on them; how many trials there is room for is found anew.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas_fpn.errors import RunError
from nas_fpn.language import Architecture
from nas_fpn.proxy.packing import (
    SECONDS,
    Packing,
    best_packing,
    candidate_packings,
    measure_packing,
)
from nas_fpn.proxy.train import pick_device
from nas_fpn.record import Event, History
from nas_fpn.run.plan_measure import timed_neck
from nas_fpn.run.prepare import Step
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import cached_bank

__all__ = [
    "Machine",
    "Packed",
    "Started",
    "not_started",
    "pack",
    "packing_on_record",
    "settle",
    "this_machine",
    "workers_of",
]

STAGE = "trying how many trials at a time are fastest"
WORSE = 0.95  # of the best so far: one that does less is the last that is tried
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

TryOut = Callable[[Packing], Packing]
# What spreads trials, started before they are planned; it gives for how many there is room.
Started = Callable[[Run], AbstractContextManager[int]]


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores that this process may use, and CUDA devices that trials may have."""

    cores: int
    gpus: int = 0


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


@contextmanager
def not_started(run: Run) -> Iterator[int]:
    """Nothing is started before it is needed."""
    yield 1


def settle(
    run: Run,
    question: Question,
    bank: Path,
    history: History,
    *,
    started: Started,
    sessions: ExitStack,
    timed: bool,
) -> Generator[Step, None, tuple[Run, Packed]]:
    """Decide how many trials train at a time, and start what spreads them; the run that says so.

    ``sessions`` ends that again. On this machine see :func:`pack`; of a cluster as many as there is
    room for at the moment, on the threads of ``[proxy]``.

    Raises:
        RunError: where none could be tried, or Ray cannot start.
    """
    ray, seed = run.settings.ray, run.settings.seed
    if ray.workers == 0:
        return run, Packed(workers=0)
    if ray.address == "local":
        run, packed = yield from pack(
            run,
            lambda: timed_neck(question, cached_bank(bank), seed=seed),
            bank,
            history,
            machine=this_machine(run),
            timed=timed,
        )
        sessions.enter_context(started(run))
        return run, packed
    room = max(sessions.enter_context(started(run)), 1)
    if ray.workers != "auto":
        return run, Packed(workers=ray.workers)
    there = Packing(room, run.settings.proxy.threads)
    decided = _with(run, workers=room, gpus_per_trial=ray.gpus_per_trial)
    line = {**_line(there, (), Machine(0)), "gpus_per_trial": ray.gpus_per_trial}
    text = f"{_said(there, ())}: as many as the cluster has room for"
    return decided, Packed(workers=room, text=text, line=line)


def this_machine(run: Run) -> Machine:
    """What the trials of a run may have here."""
    on_gpu = pick_device(run.settings.proxy.device).type == "cuda"
    return Machine(_cores(), torch.cuda.device_count() if on_gpu else 0)


def pack(
    run: Run,
    neck: Callable[[], Architecture],
    bank: Path,
    history: History,
    *,
    machine: Machine,
    timed: bool,
    try_out: TryOut | None = None,
) -> Generator[Step, None, tuple[Run, Packed]]:
    """Decide how many trials of a run train at a time on this machine; the run that says so.

    ``neck()``, of shipped words, is what is trained for it, for a few seconds with each number.
    ``timed``: whoever plans wants to know how fast each of them is beside the others, also where
    there is nothing to choose. ``try_out`` measures one packing; None: by training.

    Raises:
        RunError: where none could be tried.
    """
    asked = run.settings.ray.workers
    kept = packing_on_record(history)
    is_kept = kept is not None and (kept["cores"], kept["gpus"]) == (machine.cores, machine.gpus)
    if asked != "auto":
        candidates: tuple[Packing, ...] = (_as_set(run, asked, machine),)
    elif kept is not None and is_kept:
        candidates = (_as_kept(kept, run),)
    else:
        candidates = _candidates(run, machine, is_begun=bool(history.events))
    tried: tuple[Packing, ...] = ()
    trained, ready = None, None
    if len(candidates) > 1 or (timed and candidates[0].workers > 1):
        yield Step(STAGE, 0, 1)
        trained = neck()
        tried, took = _tried(candidates, try_out or _training(run, trained, bank))
        yield Step(STAGE, 1, 1)
        ready = max(took - SECONDS, 0.0)
    best = best_packing(tried or candidates)
    rate = best.steps_per_second
    packed = Packed(
        workers=best.workers,
        text=_said(best, tried) + (", as on record" if is_kept else "")
        if asked == "auto"
        else None,
        line=_line(best, tried, machine) if asked == "auto" and not is_kept else None,
        neck=trained,
        step_s=best.workers / rate if rate else None,
        ready_s=ready,
    )
    if asked == "auto":
        run = _with(run, workers=best.workers, gpus_per_trial=best.gpus_per_trial)
        proxy = run.settings.proxy.model_copy(update={"threads": best.threads})
        run = replace(run, settings=run.settings.model_copy(update={"proxy": proxy}))
    return run, packed


def _with(run: Run, *, workers: int, gpus_per_trial: float) -> Run:
    update = {"workers": workers, "gpus_per_trial": gpus_per_trial}
    ray = run.settings.ray.model_copy(update=update)
    return replace(run, settings=run.settings.model_copy(update={"ray": ray}))


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


def _cores() -> int:
    """Cores that this process may use, by its affinity and by the limit of its container."""
    here = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        here = len(os.sched_getaffinity(0))
    if CPU_MAX.is_file():
        quota, period = CPU_MAX.read_text(encoding="ascii").split()[:2]
        if quota.isdecimal():
            here = min(here, int(quota) // int(period))
    return max(here, 1)


def _candidates(run: Run, machine: Machine, *, is_begun: bool) -> tuple[Packing, ...]:
    """What to try: all that share this machine evenly, as far as the settings leave it open.

    A run that has begun keeps the threads that its record has.
    """
    ray, threads = run.settings.ray, run.settings.proxy.threads
    each = max(float(threads), ray.cpus_per_trial)  # cores
    if machine.gpus and ray.gpus_per_trial:
        workers = max(int(machine.gpus / ray.gpus_per_trial + 1e-6), 1)
        return (Packing(workers, threads, gpus=machine.gpus),)
    there = candidate_packings(machine.cores, gpus=machine.gpus)
    if ray.cpus_per_trial > 1:
        there = tuple(p for p in there if p.workers * ray.cpus_per_trial <= machine.cores)
    if is_begun and machine.gpus:  # whose work is not the threads'
        there = tuple(replace(one, threads=threads) for one in there)
    elif is_begun:
        there = tuple(one for one in there if one.threads == threads)
    return there or (Packing(max(int(machine.cores / each), 1), threads, gpus=machine.gpus),)


def _tried(candidates: Sequence[Packing], measure: TryOut) -> tuple[tuple[Packing, ...], float]:
    """One after another until one is clearly worse than the best; the seconds of the best.

    From the most trials at a time to the fewest, or on GPUs the other way, speed has one top. One
    whose processes die, as where memory ends, is none to take.
    """
    tried: list[Packing] = []
    fault: RunError | None = None
    best, took = 0.0, 0.0
    for one in candidates:
        began = time.monotonic()
        try:
            measured = measure(one)
        except RunError as died:
            fault = died
            measured = replace(one, steps_per_second=0.0)
        tried.append(measured)
        if measured.steps_per_second > best:
            best, took = measured.steps_per_second, time.monotonic() - began
        elif best and measured.steps_per_second < WORSE * best:
            break
    if not best:
        raise fault or RunError("[ray]: no step was done in the time of a measurement")
    return tuple(tried), took


def _as_set(run: Run, workers: int, machine: Machine) -> Packing:
    part = run.settings.ray.gpus_per_trial
    gpus = min(max(round(workers * part), 1), machine.gpus) if part else 0
    return Packing(workers, run.settings.proxy.threads, gpus=gpus)


def _as_kept(kept: Event, run: Run) -> Packing:
    """What is on record; its threads are those of the run by now."""
    gpus = round(kept["workers"] * kept["gpus_per_trial"])
    return Packing(kept["workers"], run.settings.proxy.threads, gpus=gpus)


def _line(best: Packing, tried: Sequence[Packing], machine: Machine) -> Event:
    measured: list[dict[str, Any]] = [asdict(one) for one in tried]
    return {
        "event": "packing",
        "workers": best.workers,
        "threads": best.threads,
        "gpus_per_trial": best.gpus_per_trial,
        "cores": machine.cores,
        "gpus": machine.gpus,
        "measured": [{**m, "steps_per_second": round(m["steps_per_second"], 3)} for m in measured],
    }


def _said(best: Packing, tried: Sequence[Packing]) -> str:
    """The choice and the others, each with what it did.

    >>> _said(Packing(2, 1, 11.21), (Packing(2, 1, 11.21), Packing(1, 2, 8.9)))
    '2 trials at a time on 1 thread each: 11.2 steps a second; 1 on 2 threads: 8.9'
    """
    trials = "1 trial" if best.workers == 1 else f"{best.workers} trials"
    head = f"{trials} at a time on {_threads(best)}"
    if best.gpus:
        head += f", {best.gpus_per_trial:g} GPU each"
    if not tried:
        return head
    rows = [f"{head}: {best.steps_per_second:.1f} steps a second"]
    for one in tried:
        if one != best:
            speed = f"{one.steps_per_second:.1f}" if one.steps_per_second else "no room"
            rows.append(f"{one.workers} on {_threads(one)}: {speed}")
    return "; ".join(rows)


def _threads(one: Packing) -> str:
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    return threads if one.workers == 1 else f"{threads} each"
