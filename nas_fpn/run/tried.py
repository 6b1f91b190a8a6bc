"""Numbers of trials at a time: which are tried, how fast they are, and how that is told.

From the most trials at a time to the fewest, or on GPUs the other way, speed has one top.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nas_fpn.errors import RunError
from nas_fpn.proxy.packing import Died, Packing, candidate_packings
from nas_fpn.record import Event
from nas_fpn.run.machine import Machine, Share, devices_of, fit, share_of
from nas_fpn.run.settings import Run

__all__ = ["Tried", "TryOut", "as_kept", "as_set", "candidates", "packing_line", "said", "try_all"]

WORSE = 0.95  # of the best so far: one that does less is the last that is tried
SHOWN = 80  # characters of what a process said that died

TryOut = Callable[[Packing], Packing]


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried; of those whose processes died, why; and the seconds that the best took.

    It is cut where there was no time for the rest.
    """

    packings: tuple[Packing, ...] = ()
    died: Mapping[Packing, str] = field(default_factory=dict)
    seconds: float = 0.0
    is_cut: bool = False


def candidates(run: Run, wanted: Share, machine: Machine, *, is_begun: bool) -> tuple[Packing, ...]:
    """What to try: all that share this machine evenly, as far as the settings leave it open.

    ``wanted`` are the GPUs of a trial. A run that has begun keeps the threads that its record has.
    """
    ray, threads = run.settings.ray, run.settings.proxy.threads
    each = max(float(threads), ray.cpus_per_trial)  # cores
    if machine.gpus and wanted != "auto":
        workers = fit(wanted, machine.gpus)
        return (Packing(workers, threads, gpus=devices_of(workers, wanted, machine.gpus)),)
    there = candidate_packings(machine.cores, gpus=machine.gpus)
    if ray.cpus_per_trial > 1:
        there = tuple(p for p in there if p.workers * ray.cpus_per_trial <= machine.cores)
    if is_begun and machine.gpus:  # whose work is not the threads'
        there = tuple(replace(one, threads=threads) for one in there)
    elif is_begun:
        there = tuple(one for one in there if one.threads == threads)
    if there:
        return there
    workers = max(int(machine.cores / each), 1)
    return (Packing(workers, threads, gpus=min(workers, machine.gpus)),)


def as_set(run: Run, workers: int, wanted: Share, machine: Machine) -> Packing:
    """As many as the settings say, or as Ray gives ``wanted`` GPUs to."""
    share = share_of(workers, machine.gpus) if wanted == "auto" else wanted
    if share:
        workers = min(workers, fit(share, machine.gpus))
    gpus = devices_of(workers, share, machine.gpus)
    return Packing(workers, run.settings.proxy.threads, gpus=gpus)


def as_kept(kept: Event, run: Run, machine: Machine) -> Packing:
    """What is on record; its threads are those of the run by now."""
    gpus = devices_of(kept["workers"], kept["gpus_per_trial"], machine.gpus)
    return Packing(kept["workers"], run.settings.proxy.threads, gpus=gpus)


def try_all(
    those: Sequence[Packing], measure: TryOut, *, has_room: Callable[[float], bool]
) -> Tried:
    """One after another until one is clearly worse than the best.

    Once one could be measured, ``has_room`` is asked before each of the rest whether there is time
    for as many seconds as the last one took. One whose processes die, as where memory ends, is none
    to take. Raises :class:`RunError` where all of them do, or have no room.
    """
    tried: list[Packing] = []
    died: dict[Packing, str] = {}
    fault: RunError | None = None
    best, took, last, is_cut = 0.0, 0.0, 0.0, False
    for one in those:
        if best and not has_room(last):
            is_cut = True
            break
        began = time.monotonic()
        measured = replace(one, steps_per_second=0.0)
        try:
            measured = measure(one)
        except Died as end:
            fault = end
            died[measured] = end.last
        except RunError as full:
            fault = full
        tried.append(measured)
        last = time.monotonic() - began
        if measured.steps_per_second > best:
            best, took = measured.steps_per_second, last
        elif best and measured.steps_per_second < WORSE * best:
            break
    if not best:
        raise fault or RunError(
            "[ray]: no step was done in the time of a measurement\nset workers, and it is not asked"
        )
    return Tried(tuple(tried), died, took, is_cut)


def packing_line(
    best: Packing,
    share: float,
    machine: Machine,
    tried: Tried | None = None,
    *,
    asked: tuple[float, Share],
) -> Event:
    """The event "packing"; ``asked`` are cores and GPUs of a trial as the settings have them."""
    tried = tried or Tried()
    measured: list[dict[str, Any]] = [
        {
            **asdict(one),
            "steps_per_second": round(one.steps_per_second, 3),
            **({"died": tried.died[one]} if one in tried.died else {}),
        }
        for one in tried.packings
    ]
    return {
        "event": "packing",
        "workers": best.workers,
        "threads": best.threads,
        "gpus_per_trial": share,
        "cpus_asked": asked[0],
        "gpus_asked": asked[1],
        "cores": machine.cores,
        "gpus": machine.gpus,
        "measured": measured,
    }


def said(best: Packing, share: float, tried: Tried | None = None) -> str:
    """The choice, its trials of ``share`` GPUs each, and the others, each with what it did.

    >>> one, two = Packing(1, 2, 8.9), Packing(2, 1, 11.21)
    >>> said(two, 0.0, Tried((two, one)))
    '2 trials at a time on 1 thread each: 11.2 steps a second; 1 on 2 threads: 8.9'
    """
    trials = "1 trial" if best.workers == 1 else f"{best.workers} trials"
    head = f"{trials} at a time on {_threads(best)}"
    if share:
        head += f", {share:g} GPU each"
    if tried is None or not tried.packings:
        return head
    rows = [f"{head}: {best.steps_per_second:.1f} steps a second"]
    for one in tried.packings:
        if one in tried.died:
            rows.append(f"{one.workers} on {_threads(one)}: died, {tried.died[one][:SHOWN]}")
        elif one != best:
            speed = f"{one.steps_per_second:.1f}" if one.steps_per_second else "no room"
            rows.append(f"{one.workers} on {_threads(one)}: {speed}")
    if tried.is_cut:
        rows.append("there was no time to try the rest")
    return "; ".join(rows)


def _threads(one: Packing) -> str:
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    return threads if one.workers == 1 else f"{threads} each"
