"""Long work spread over processes of this machine, or done here: one interface for both.

A piece of work is a generator of parts done, 0 to 1, that returns its result. It travels to a new
process by pickle: paths, texts and numbers. What it makes on disk must let it go on after a stop.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Generic, Protocol, TypeVar

import torch

from nas_fpn.errors import RunError
from nas_fpn.proxy.packing import visible_devices

__all__ = ["Done", "Part", "Work", "spread"]

Result = TypeVar("Result", covariant=True)
Out = TypeVar("Out")

LOOK = 1.0  # seconds between two looks at what is done


class Work(Protocol[Result]):
    """What is to be done, a frozen value; calling it begins it."""

    def __call__(self) -> Generator[float, None, Result]:
        """Yield the part done so far, 0 to 1; return the result."""


@dataclass(frozen=True, slots=True)
class Part(Generic[Out]):
    """How far a piece of work is that is done in this process."""

    work: Work[Out]
    part: float


@dataclass(frozen=True, slots=True)
class Done(Generic[Out]):
    """A piece of work and what it returned."""

    work: Work[Out]
    result: Out


def spread(
    due: Callable[[], Work[Out] | None], *, workers: int, threads: int
) -> Iterator[Part[Out] | Done[Out]]:
    """Do what ``due`` gives, ``workers`` pieces at a time, each with ``threads`` CPU threads.

    ``due`` is asked whenever a worker is free, and after each result has been taken in; None:
    nothing is due now. It is over when nothing is under way and nothing is due. ``workers`` 0:
    one at a time, in this process. Of several CUDA devices each worker sees one, in turn. Close
    the generator, or interrupt it, and the work under way ends at once, as it does when this
    process is killed. What a piece raises is raised here.

    Raises:
        RunError: when a process was killed from outside, as for its memory.
    """
    if workers == 0:
        yield from _here(due, threads)
        return
    context = multiprocessing.get_context("spawn")
    # Workers wait for the end of this pipe: it ends when it is closed here, or with this process.
    line, held = context.Pipe(duplex=False)
    turn, devices = context.Value("i", 0), visible_devices(torch.cuda.device_count())
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(line, threads, turn, devices)
    )
    under_way: dict[Future[Out], Work[Out]] = {}
    try:
        while True:
            while len(under_way) < workers and (work := due()) is not None:
                under_way[pool.submit(_run, work)] = work
            if not under_way:
                return
            for future in wait(under_way, timeout=LOOK, return_when=FIRST_COMPLETED).done:
                yield Done(under_way.pop(future), future.result())
    except BrokenProcessPool:
        raise RunError(
            "a worker process was killed, perhaps for its memory; the same command goes on from "
            "here\nfewer workers need less memory"
        ) from None
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)
        line.close()


def _here(due: Callable[[], Work[Out] | None], threads: int) -> Iterator[Part[Out] | Done[Out]]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        while (work := due()) is not None:
            parts = work()
            try:
                while True:
                    yield Part(work, next(parts))
            except StopIteration as end:
                yield Done(work, end.value)
            finally:
                parts.close()
    finally:
        torch.set_num_threads(before)


def _begin(
    line: Connection, threads: int, turn: "Synchronized[int]", devices: tuple[str, ...]
) -> None:
    """Once a worker. Ctrl-C reaches it too, but it is the driver that says when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    if devices:
        with turn:
            number, turn.value = turn.value, turn.value + 1
        # Nothing in this process has asked for a device yet: it sees this one alone.
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    threading.Thread(target=_end, args=(line,), daemon=True).start()


def _end(line: Connection) -> None:
    """End this worker at once when it is told to, or when nobody is left that waits for it."""
    try:
        line.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)  # whatever it does: what is on disk lets another go on


def _run(work: Work[Out]) -> Out:
    """In a worker: all of a piece."""
    parts = work()
    try:
        while True:
            next(parts)
    except StopIteration as end:
        result: Out = end.value
        return result
