"""What this machine has for trials: cores, CUDA devices, and the part of a device that each takes.

Ray gives a part of one device to a trial, or whole devices, and knows either to a ten-thousandth.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from nas_fpn.errors import RunError
from nas_fpn.proxy.train import pick_device
from nas_fpn.run.settings import Run

__all__ = [
    "Machine",
    "Share",
    "check_gpus",
    "cores",
    "devices_of",
    "fit",
    "refuse_more_gpus",
    "share_of",
    "this_machine",
]

FINEST = 10_000  # parts of a device that Ray knows
LIMITS = Path("/sys/fs/cgroup")

Share = float | Literal["auto"]  # GPUs of a trial


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores that this process may use, and CUDA devices that trials may have."""

    cores: int
    gpus: int = 0


def this_machine(run: Run) -> Machine:
    """What the trials of a run may have here."""
    on_gpu = pick_device(run.settings.proxy.device).type == "cuda"
    return Machine(cores(), torch.cuda.device_count() if on_gpu else 0)


def share_of(workers: int, gpus: int) -> float:
    """GPUs of a trial where ``workers`` train at a time on ``gpus`` devices; all of them fit.

    >>> [share_of(workers, 2) for workers in (1, 2, 3, 4, 6)]
    [1.0, 1.0, 0.5, 0.5, 0.3333]
    """
    if not gpus:
        return 0.0
    on_each = -(-workers // gpus)
    return max(FINEST // on_each, 1) / FINEST


def fit(share: float, gpus: int) -> int:
    """How many trials of ``share`` GPUs each Ray trains at a time on ``gpus`` devices.

    >>> [fit(share, 2) for share in (2.0, 1.0, 0.5, 0.4, 0.3333)]
    [1, 2, 4, 4, 6]
    """
    if share > 1:
        return int(gpus // share)
    return gpus * (FINEST // max(round(share * FINEST), 1))


def devices_of(workers: int, share: float, gpus: int) -> int:
    """On how many of ``gpus`` devices Ray puts ``workers`` trials of ``share``: it fills them."""
    if not share:
        return 0
    return min(math.ceil(workers / max(fit(share, 1), 1)), gpus)


def check_gpus(run: Run) -> None:
    """Raise RunError, before anything is prepared, where trials take GPUs that are not here.

    Those of a cluster are its nodes'.
    """
    ray, is_here = run.settings.ray, run.settings.ray.address == "local"
    if ray.workers and is_here and run.settings.proxy.device != "cpu":
        gpus = this_machine(run).gpus
        refuse_more_gpus(run, 0.0 if ray.gpus_per_trial == "auto" else ray.gpus_per_trial, gpus)


def refuse_more_gpus(run: Run, share: float, gpus: int) -> None:
    """Raise RunError where a trial takes more GPUs than there are."""
    if share > gpus:
        there = f"{gpus} CUDA device{'' if gpus == 1 else 's'}" if gpus else "no CUDA device"
        raise RunError(
            f"{run.folder / 'run.toml'}: [ray] gpus_per_trial = {share:g}, but torch finds {there} "
            'here\nset "auto", which shares what there is among the workers, or device = "cpu" in '
            "[proxy]"
        )


def cores(limits: Path = LIMITS) -> int:
    """Cores that this process may use, by its affinity and by the limit of its container.

    ``limits`` is where the kernel shows its control groups, of the first version or the second.
    """
    here = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        here = len(os.sched_getaffinity(0))
    second = limits / "cpu.max"
    first = limits / "cpu" / "cpu.cfs_quota_us", limits / "cpu" / "cpu.cfs_period_us"
    files = (second,) if second.is_file() else first
    if all(file.is_file() for file in files):
        text = " ".join(file.read_text(encoding="ascii") for file in files)
        quota, period = text.split()[:2]
        if quota.isdecimal():  # "max", or -1: no limit
            here = min(here, int(quota) // int(period))
    return max(here, 1)
