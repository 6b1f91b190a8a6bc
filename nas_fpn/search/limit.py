"""How long a training may take: both runners end one that hangs, and give the same reason."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Late", "alarm", "too_long"]


class Late(BaseException):
    """A training has passed its limit; no ``Exception``: a training might take it for its own."""


def too_long(seconds: float) -> str:
    """The reason of a trial that took longer.

    >>> too_long(90.0)
    'it took longer than 1.5 minutes, its limit in [budget] trial_minutes'
    """
    return f"it took longer than {seconds / 60:g} minutes, its limit in [budget] trial_minutes"


@contextmanager
def alarm(until: float | None) -> Iterator[None]:
    """Raise :class:`Late` when ``time.monotonic()`` has come to ``until``; None: never.

    Whatever Python runs or sleeps in is interrupted; a call into a library is once it returns.
    Signals reach the main thread only: in another one it is raised at the end.
    """
    if until is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        yield
        if time.monotonic() > until:
            raise Late
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(until - time.monotonic(), 1e-6))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
