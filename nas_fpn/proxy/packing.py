"""How many trials at a time on how many threads each: measured, since the machine decides.

Steps of small tensors waste the threads that they are spread over, and threads spin where a core
is taken; large ones may gain. The candidates train the same neck for a few seconds in processes of
their own, as workers would, and the one with most steps a second is taken.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from nas_fpn.errors import RunError
from nas_fpn.language import lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.bank import open_bank
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import prepare_training, proxy_schedule

__all__ = ["Packing", "best_packing", "candidate_packings", "measure_packing"]

WARM = 3  # steps of each process before all begin together
SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Packing:
    """``workers`` trials at a time on ``threads`` each; the steps a second of all together."""

    workers: int
    threads: int
    steps_per_second: float = 0.0


def candidate_packings(cores: int) -> tuple[Packing, ...]:
    """One thread each on all cores, then two, four … each, then all threads for one.

    >>> [(p.workers, p.threads) for p in candidate_packings(6)]
    [(6, 1), (3, 2), (1, 4), (1, 6)]
    """
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
    words only. Raises ``RunError``, with its last line, if a process dies.
    """
    return tuple(
        _measured(one, bank, text, settings, seconds=seconds, seed=seed) for one in candidates
    )


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
            env=environment,
        )
        for _ in range(packing.workers)
    ]
    try:
        for process in processes:
            _say(process, asked)
        for process in processes:
            _hear(process)
        for process in processes:
            _say(process, "go")
        rate = sum(float(_hear(process)) for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return Packing(packing.workers, packing.threads, rate)


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
    if line:
        return line
    _, said = process.communicate()
    last = next(filter(None, reversed(said.split("\n"))), f"exit code {process.returncode}")
    raise RunError(f"a training that was to be timed died: {last[:300]}")


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
    done, began = 0, 0.0

    def loss(step: int) -> Iterator[Tensor]:
        nonlocal done, began
        if step == WARM:
            print("ready", flush=True)
            sys.stdin.readline()
            began = perf_counter()
        if step > WARM:
            done = step - WARM
            if perf_counter() - began > asked["seconds"]:
                raise _TimeIsUp
        return training.loss(step % settings.steps)

    plan = proxy_schedule(settings.model_copy(update={"steps": sys.maxsize, "evaluations": 1}))
    try:
        for _ in optimise(training.detector, plan, loss=loss, evaluate=dict):
            pass
    except _TimeIsUp:
        print(done / (perf_counter() - began), flush=True)


if __name__ == "__main__":
    _work()
