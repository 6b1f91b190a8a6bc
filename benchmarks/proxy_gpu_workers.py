"""Several small trainings side by side on one device: as processes, or as streams of one."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch

from benchmarks.proxy_steps import build_neck
from nas_fpn.language import parse
from nas_fpn.proxy.bank import open_bank
from nas_fpn.proxy.feeding import memory_of, placed
from nas_fpn.proxy.optimise import is_out_of_memory
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import train

PATIENCE = 300.0  # seconds until all are ready

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What each worker does: whole trials of the necks of ``texts`` in turn, for so long."""

    bank: Path
    texts: tuple[str, ...]
    settings: ProxySettings
    seconds: float


def side_by_side(job: Job, at_once: Sequence[int]) -> Iterator[Row]:
    """Trials an hour of so many at once, by processes and by streams; None: there was no room."""
    for how in ("processes", "streams"):
        for number in at_once:
            yield {"how": how, "at_once": number, "trials_per_hour": _rate(job, how, number)}


def _rate(job: Job, how: str, number: int) -> float | None:
    if how == "streams":
        return _together(job, ThreadPoolExecutor(number), Barrier(number), number)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        pool = ProcessPoolExecutor(number, mp_context=context)
        return _together(job, pool, manager.Barrier(number), number)


def _together(job: Job, pool: Executor, ready: Any, number: int) -> float | None:
    with pool:
        waiting = [pool.submit(work, job, ready, turn) for turn in range(number)]
        rates = [one.result() for one in waiting]
    found = [rate for rate in rates if rate is not None]
    return sum(found) if len(found) == number else None


def work(job: Job, ready: Any, turn: int) -> float | None:
    """One worker: a short training to warm up, then trials until the time is over; those an hour.

    The last one counts as far as its last report.
    """
    torch.set_num_threads(1)
    opened = opened_bank(job.bank)
    brief = job.settings.model_copy(update={"steps": 5, "evaluations": 1})
    on_cuda = job.settings.device == "cuda"
    try:
        with torch.cuda.stream(torch.cuda.Stream()) if on_cuda else nullcontext():
            for text in dict.fromkeys(job.texts):
                list(train(build_neck(parse(text), opened, seed=0), opened, brief, seed=0))
            ready.wait(PATIENCE)
            began = time.perf_counter()
            done, ended = 0.0, began
            for text in cycle(job.texts[turn % len(job.texts) :] + job.texts):
                whole = done
                neck = build_neck(parse(text), opened, seed=0)
                for report in train(neck, opened, job.settings, seed=0):
                    done = whole + report.steps / job.settings.steps
                    ended = time.perf_counter()
                    if ended - began > job.seconds:
                        return 3600 * done / (ended - began)
    except BrokenBarrierError:
        return None
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        ready.abort()
        return None
    raise AssertionError("a cycle has no end")


_BANKS: dict[Path, Any] = {}


def opened_bank(path: Path) -> Any:
    """The bank of a path, opened and placed once in a process."""
    if path not in _BANKS:
        _BANKS[path] = open_bank(path)
    return _BANKS[path]


def settle(job: Job) -> None:
    """Place the bank and what is remembered of it before streams ask for them at once."""
    if job.settings.device == "cuda":
        bank = opened_bank(job.bank)
        for split in (bank.train, bank.val):
            memory_of(placed(split, torch.device("cuda")))
