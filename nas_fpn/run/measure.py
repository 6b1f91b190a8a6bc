"""A user's own measurement of a neck: ``[limits] measure``, a command that prints a number.

It is code of whoever wrote ``run.toml``, like a controller: a search runs it, looking at a run does
not. No shell is asked; the words of the line are the program and its arguments.
"""

import json
import math
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nas_fpn.errors import RunError

__all__ = ["MEASURED", "NECK", "run_measure"]

NECK = "{neck}"  # stands for the folder of the exported neck; without it the folder comes last
MEASURED = ("latency_ms", "memory_mb")  # what it may give; a bare number is the first
SHOWN = 200  # characters of what it printed


def run_measure(command: str, neck: Path, *, seconds: float, folder: Path) -> Mapping[str, float]:
    """Run ``command`` in ``folder`` on the exported ``neck``; what it printed last, by name.

    A number is milliseconds; an object has latency_ms, memory_mb, or both.

    Raises:
        RunError: where it cannot be run, takes longer than ``seconds``, ends with another code
            than 0, or prints something else.
    """
    words = shlex.split(command)
    named = any(NECK in word for word in words)
    line = [word.replace(NECK, str(neck)) for word in words] + ([] if named else [str(neck)])
    try:
        process = subprocess.Popen(
            line,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as fault:
        raise _fault(command, f"cannot be run: {fault.strerror}: {line[0]}") from None
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise _fault(
            command, f"took longer than {seconds:g} s", "raise measure_seconds in [limits]"
        ) from None
    finally:
        _end(process)
    if process.returncode:
        said = _last(err) or _last(out) or "it printed nothing"
        raise _fault(command, f"ended with code {process.returncode}: {said}")
    return _read(command, out)


def _read(command: str, out: str) -> Mapping[str, float]:
    text = _last(out)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    found = value if isinstance(value, dict) else {MEASURED[0]: value}
    numbers = {name: found[name] for name in MEASURED if name in found}
    if not numbers or not all(_is_number(one) for one in numbers.values()):
        raise _fault(
            command,
            f"should print a number above 0 last, but printed {text[:SHOWN]!r}",
            'milliseconds, or JSON: {"latency_ms": 3.1, "memory_mb": 20}',
        )
    return {name: float(value) for name, value in numbers.items()}


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < float(str(value)) < math.inf


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    return next(filter(None, reversed(lines)), "")[:SHOWN]


def _fault(command: str, what: str, mend: str = "") -> RunError:
    mend = mend or f"run it by hand, with the folder of an exported neck for {NECK}"
    return RunError(f"[limits] measure: {command}: {what}\n{mend}")


def _end(process: subprocess.Popen[str]) -> None:
    """End it with all that it started, if it has not ended."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
