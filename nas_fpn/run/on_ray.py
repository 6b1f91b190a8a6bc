"""Trials on Ray's workers, as ``[ray]`` of ``run.toml`` asks: all of a run that needs Ray."""

from collections.abc import Iterator

from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Loop, Progress
from nas_fpn.search.carry import Carried
from nas_fpn.search.tune import search_on_ray

__all__ = ["drive_on_ray"]


def drive_on_ray(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
    """Train trials beside one another on ``[ray] workers`` long-lived workers."""
    ray = run.settings.ray
    return search_on_ray(
        loop,
        Carried(trainer.bank, trainer.at),
        workers=ray.workers,
        threads=run.settings.proxy.threads,
        cpus=ray.cpus_per_trial,
        gpus=ray.gpus_per_trial,
        address=ray.address,
        seconds=run.settings.trial_seconds,
    )
