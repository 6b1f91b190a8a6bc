"""Runs whose packing is to be decided, and what was."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from nas_fpn.run import Run, RunSettings, Step
from nas_fpn.run.packed import Packed


def run_of(device: str = "auto", **ray: Any) -> Run:
    given = {"ray": {"workers": "auto", **ray}, "proxy": {"device": device}}
    settings = RunSettings.model_validate(given)
    return Run(Path("runs/mine"), settings, settings.data, settings.backbone)


def outcome(steps: Generator[Step, None, tuple[Run, Packed]]) -> tuple[Run, Packed]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: tuple[Run, Packed] = end.value
            return result


def shares(run: Run) -> tuple[int | str, float | str, str]:
    """How many trials at a time, the GPUs of each, and the device that they pick."""
    ray = run.settings.ray
    return ray.workers, ray.gpus_per_trial, run.settings.proxy.device
