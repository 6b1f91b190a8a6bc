"""How many trials at a time on how many threads each: measured, since the machine decides.

Steps of small tensors waste the threads that they are spread over, and threads spin where a core
is taken; large ones may gain. A GPU that one small neck does not fill may take several at once, as
long as its memory lasts. The candidates train the same neck for a few seconds in processes of
their own, as workers would, and the one with most steps a second is taken.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from nas_fpn.errors import RunError
from nas_fpn.language import lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.bank import open_bank
from nas_fpn.proxy.optimise import is_out_of_memory, optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.timing import now
from nas_fpn.proxy.train import prepare_training, proxy_schedule

__all__ = [
    "Died",
    "Packing",
    "best_packing",
    "candidate_packings",
    "measure_packing",
    "visible_devices",
]

WARM = 3  # steps of each process before all begin together
AHEAD = 4  # steps that a process may have asked of its device and that are not done
SECONDS = 3.0
ON_ONE_GPU = (1, 2, 4, 8)
NO_ROOM = "no room"  # what a process says whose device has no memory left


class Died(RunError):  # noqa: N818  (a RunError, which whoever tries several can tell)
    """A process that was to be timed has died; ``last`` is the last line that it wrote."""

    def __init__(self, last: str) -> None:
        super().__init__(
            f"a training that was to be timed died: {last}\n"
            "where memory was out, fewer [ray] workers or a smaller [proxy] batch_size take less; "
            "workers = 0 trains in this process, which shows the whole error"
        )
        self.last = last


@dataclass(frozen=True, slots=True)
class Packing:
    """``workers`` trials at a time on ``threads`` each; the steps a second of all together.

    The workers share ``gpus`` devices in turn, or none. No step a second was measured, or there
    was no room for so many.
    """

    workers: int
    threads: int
    steps_per_second: float = 0.0
    gpus: int = 0

    @property
    def gpus_per_trial(self) -> float:
        """The part of a device that a trial has."""
        return self.gpus / self.workers


def candidate_packings(cores: int, *, gpus: int = 0) -> tuple[Packing, ...]:
    """One thread each on all cores, then two, four … each, then all threads for one.

    With ``gpus``, the CUDA devices that trials may have, the work is theirs: then one, two, four
    and eight workers of one thread on each device, as far as there are cores.

    >>> [(p.workers, p.threads) for p in candidate_packings(6)]
    [(6, 1), (3, 2), (1, 4), (1, 6)]
    >>> [(p.workers, p.gpus_per_trial) for p in candidate_packings(12, gpus=2)]
    [(2, 1.0), (4, 0.5), (8, 0.25)]
    """
    if gpus:
        workers = [gpus * each for each in ON_ONE_GPU]
        return tuple(Packing(n, 1, gpus=gpus) for n in workers if n <= max(cores, gpus))
    threads = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return tuple(Packing(cores // each, each) for each in (*threads, cores))


def best_packing(measured: Sequence[Packing]) -> Packing:
    """The one with most steps a second; of equals the one with most workers."""
    return max(measured, key=lambda one: (one.steps_per_second, one.workers))


def measure_packing(
    bank: Path,
    text: str,
    settings: ProxySettings,
    *,
    candidates: Sequence[Packing],
    seconds: float = SECONDS,
    seed: int = 0,
) -> tuple[Packing, ...]:
    """The candidates with their steps a second, on training the neck of ``text`` on a bank.

    Each takes ``seconds`` and the start of its processes, about five seconds. ``text`` has shipped
    words only. ``settings.device`` is where they train; with ``gpus`` of a candidate the processes
    take turns at that many of the devices that are visible here. One for which there is no memory
    cannot be: it has zero steps a second. Raises ``RunError`` if no candidate has room, or ``Died``
    if a process dies of anything else.
    """
    measured = tuple(
        _measured(one, bank, text, settings, seconds=seconds, seed=seed) for one in candidates
    )
    if not any(one.steps_per_second for one in measured):
        fewest = min(one.workers for one in candidates)
        raise RunError(
            f"memory is out before {fewest} at a time have trained a step; set a smaller [proxy] "
            f"batch_size than {settings.batch_size}, or a smaller image_size"
        )
    return measured


def _measured(
    packing: Packing,
    bank: Path,
    text: str,
    settings: ProxySettings,
    *,
    seconds: float,
    seed: int,
) -> Packing:
    asked = json.dumps(
        {
            "bank": str(bank),
            "text": text,
            "settings": settings.model_dump(mode="json"),
            "threads": packing.threads,
            "seconds": seconds,
            "seed": seed,
        }
    )
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(packing.threads),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nas_fpn.proxy.packing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, **_visible(packing, number)},
        )
        for number in range(packing.workers)
    ]
    try:
        for process in processes:
            _say(process, asked)
        for process in processes:
            _hear(process)
        for process in processes:
            _say(process, "go")
        rate = sum(float(_hear(process)) for process in processes)
    except _NoRoom:
        rate = 0.0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return replace(packing, steps_per_second=rate)


def visible_devices(count: int) -> tuple[str, ...]:
    """The first ``count`` CUDA devices of this process, as CUDA_VISIBLE_DEVICES names them."""
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = known.split(",") if known else [str(device) for device in range(count)]
    return tuple(devices[:count])


def _visible(packing: Packing, number: int) -> dict[str, str]:
    """The environment that shows the worker ``number`` its device alone."""
    if not packing.gpus:
        return {}
    devices = visible_devices(packing.gpus)
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]}


class _NoRoom(Exception):  # noqa: N818  (no error: the answer of a candidate that cannot be)
    pass


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        _hear(process)


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if line.strip() == NO_ROOM:
        raise _NoRoom
    if line:
        return line
    _, said = process.communicate()
    last = next(filter(None, reversed(said.split("\n"))), f"exit code {process.returncode}")
    raise Died(last[:300])


class _TimeIsUp(Exception):  # noqa: N818  (no error: how a timed training ends)
    pass


def _work() -> None:
    """One process: prepare, say so, wait for the word, train for so long, say how fast."""
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    settings = ProxySettings.model_validate(asked["settings"])
    bank = open_bank(Path(asked["bank"]))
    architecture = parse(asked["text"])
    channels = [bank.channels[level] for level in lower(architecture).inputs]
    neck = Neck(architecture, channels, seed=asked["seed"])
    training = prepare_training(neck, bank, settings, seed=asked["seed"])
    lead = Lead()
    done, began = 0, 0.0

    def loss(step: int) -> Iterable[Tensor]:
        nonlocal done, began
        if step == WARM:
            now()  # nothing of the steps before is left to be done
            print("ready", flush=True)
            sys.stdin.readline()
            began = perf_counter()
        if step > WARM:
            lead.keep()
            done = step - WARM
            if perf_counter() - began > asked["seconds"]:
                raise _TimeIsUp
        return training.loss(step % settings.steps)

    plan = proxy_schedule(settings.model_copy(update={"steps": sys.maxsize, "evaluations": 1}))
    try:
        for _ in optimise(
            training.detector, plan, loss=loss, evaluate=dict, recorder=training.recorder
        ):
            pass
    except _TimeIsUp:
        print(done / (now() - began), flush=True)  # steps that wait for a device are not done yet


class Lead:
    """What a process has asked of a CUDA device, kept to a few steps; none on a CPU.

    Without that it runs ahead by a thousand launches, and at the end all the others wait for them.
    """

    def __init__(self) -> None:
        self._asked: deque[torch.cuda.Event] = deque()

    def keep(self) -> None:
        """Between two steps: wait until no more than ``AHEAD`` are left to be done."""
        if not torch.cuda.is_initialized():
            return
        event = torch.cuda.Event(blocking=True)
        event.record()
        self._asked.append(event)
        if len(self._asked) > AHEAD:
            self._asked.popleft().synchronize()


def _or_no_room(work: Callable[[], None]) -> None:
    """Do the work; say so where there is no memory for it."""
    try:
        work()
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        print(NO_ROOM, flush=True)


if __name__ == "__main__":
    _or_no_room(_work)
