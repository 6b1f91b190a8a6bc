"""A search in this process, one trial after another: the specification of every runner."""

import errno
import time
from collections.abc import Iterator

from nas_fpn.record import Report
from nas_fpn.search.device import check_device
from nas_fpn.search.limit import Late, alarm, too_long
from nas_fpn.search.loop import Loop
from nas_fpn.search.plan import BeyondLimits, Due, Evaluate
from nas_fpn.search.progress import Progress

__all__ = ["NO_ROOM", "advance", "search_here", "training"]

# Of a disk that is full or not to be written: no trial's fault, and it would fail the next as well.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})


def search_here(
    loop: Loop, evaluate: Evaluate, *, seconds: float | None = None
) -> Iterator[Progress]:
    """Train what the loop asks for until it is over.

    An exception of ``evaluate`` fails the trial and the search goes on; so does a training that
    takes longer than ``seconds``. One that costs the process its CUDA device ends the search
    (:class:`RunError`), for the next would fail too. What is in training when the time of the
    loop's clock is over is cut. Interrupted, or out of room on disk (OSError), it leaves a record
    that a new loop resumes. The threads of the training are ``evaluate``'s affair.
    """
    while (due := loop.next()) is not None:
        yield from loop.drain()
        began = time.monotonic()
        until = None if seconds is None else began + seconds
        cut = None if loop.clock is None else began + loop.clock.left()
        until = min((one for one in (until, cut) if one is not None), default=None)
        reports = training(evaluate, due)
        goes_on = True
        while goes_on:
            try:
                with alarm(until):
                    step = advance(reports)
            except Late:
                if until == cut:
                    loop.cut(due.number)
                    yield from loop.drain()
                    break
                assert seconds is not None
                step = too_long(seconds)
            if isinstance(step, Report):
                goes_on = loop.report(due.number, step)
            elif isinstance(step, BeyondLimits):
                loop.reject(due.number, str(step))
                goes_on = False
            else:
                loop.finish(due.number, failure=step)
                goes_on = False
            yield from loop.drain()
            if isinstance(step, str):
                check_device(due.number)
    yield from loop.drain()
    yield loop.ending()


def training(evaluate: Evaluate, due: Due) -> Iterator[Report]:
    """``evaluate(due)``, begun at the first step, so that its beginning can fail too."""
    yield from evaluate(due)


def advance(reports: Iterator[Report]) -> Report | BeyondLimits | str | None:
    """The next report; None at the end; the reason if the neck is rejected or the training fails.

    Whatever a training raises fails its trial; only what is no ``Exception`` (an interrupt, an
    exit) ends the search, and an OSError of a disk that takes no more.
    """
    try:
        return next(reports, None)
    except BeyondLimits as rejected:
        return rejected
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")[:300]
