"""Minutes that are too few: refused before they are over, whatever takes them.

What is prepared stays, so that the same command is nearer to its first trial the next time.
"""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nas_fpn.errors import RunError, command_line
from nas_fpn.run.clock import RunClock
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run
from nas_fpn.search.limit import Late, alarm

__all__ = ["has_room", "in_the_time", "within"]

Out = TypeVar("Out")

PREPARING = "reading the data"  # what a preparation begins with, before it says so
PREPARED = 0.7  # of the time, at most, for the preparation


def within(
    steps: Generator[Step, None, Out], clock: RunClock | None, run: Run
) -> Generator[Step, None, Out]:
    """``steps`` of the preparation, refused as soon as they are seen to take most of the time.

    One step that takes all of it, as on a slow disk, is ended as :func:`in_the_time` does.

    Raises:
        RunError: which says how many minutes would do.
    """
    stage, since = "", 0.0
    try:
        while True:
            try:
                with in_the_time(clock, run, stage or PREPARING):
                    step = next(steps)
            except StopIteration as end:
                result: Out = end.value
                return result
            if clock is not None:
                now = clock.spent()
                if step.stage != stage:
                    stage, since = step.stage, now
                left = (now - since) / step.done * (step.total - step.done) if step.done else 0.0
                if now + left > PREPARED * clock.seconds:
                    end_s = f"{step.stage} would end after about {now + left:.0f} s"
                    raise _too_short(clock, run, end_s, now + left)
            yield step
    finally:
        steps.close()


@contextmanager
def in_the_time(clock: RunClock | None, run: Run, stage: str) -> Iterator[None]:
    """What a search does before its first trial, ended where that takes all of the time.

    ``stage`` is what a person knows it as. Without a clock it takes as long as it takes.

    Raises:
        RunError: which says how many minutes would do.
    """
    if clock is None:
        yield
        return
    until = time.monotonic() + clock.to_end()
    try:
        with alarm(until):
            yield
        if time.monotonic() > until:  # a library may have swallowed the alarm
            raise Late
    except Late:
        spent = clock.spent()
        raise _too_short(clock, run, f"{stage} had not ended after {spent:.0f} s", spent) from None


def has_room(clock: RunClock | None, seconds: float) -> bool:
    """Whether so many seconds more leave the preparation within its part of the time."""
    return clock is None or clock.spent() + seconds <= PREPARED * clock.seconds


def _too_short(clock: RunClock, run: Run, why: str, needed: float) -> RunError:
    return RunError(
        f"[budget] minutes = {clock.seconds / 60:g} is too short: {why}, and trials come after it\n"
        f"the least that will do here is about minutes = {math.ceil(needed / PREPARED / 60)}; "
        f"{command_line('plan', run.folder)} prepares without "
        "a clock, once, and says what would do then"
    )
