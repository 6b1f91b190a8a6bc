"""Trials on Ray's workers, as ``[ray]`` of ``run.toml`` asks: all of a run that needs Ray."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nas_fpn.errors import RunError
from nas_fpn.run.settings import Run
from nas_fpn.run.started import Driver, Room
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Loop, Progress
from nas_fpn.search.carry import Carried
from nas_fpn.search.cluster import session
from nas_fpn.search.nodes import room
from nas_fpn.search.tune import search_on_ray

__all__ = ["drive_on_ray", "ray_started"]


@contextmanager
def ray_started(run: Run) -> Iterator[Room]:
    """Ray, started before a plan, so that its time is spent and not guessed.

    Gives for how many trials there is room, and the GPUs of each: where ``gpus_per_trial`` is left
    open one, if trials may have it and there is one, as Ray says. Raises :class:`RunError` where
    this machine can never run one, or no cluster answers at the address.
    """
    ray, device = run.settings.ray, run.settings.proxy.device
    is_open = ray.gpus_per_trial == "auto"
    gpus = 0.0 if ray.gpus_per_trial == "auto" else ray.gpus_per_trial
    workers = 1 if ray.workers == "auto" else ray.workers  # of a cluster, whose size is its own
    threads = run.settings.proxy.threads
    with ExitStack() as stack:
        resources = {"cpu": ray.cpus_per_trial, "gpu": gpus}
        try:
            stack.enter_context(session(ray.address, resources, workers=workers, threads=threads))
        except ConnectionError as fault:
            what = str(fault).split("\n")[0]
            raise RunError(
                f"[ray] address = {ray.address}: no cluster answers: {what}\n"
                "is its head up, and do you type on one of its nodes? docs/cluster.md has both "
                "ways in"
            ) from None
        if is_open and (device == "cuda" or (device == "auto" and room({"gpu": 1.0}))):
            gpus = 1.0
        yield Room(room({"cpu": ray.cpus_per_trial, "gpu": gpus}), gpus)


def _on_ray(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
    ray = run.settings.ray
    if ray.workers == 0:
        raise RunError(
            "[ray] workers = 0 trains in this process, without Ray\n"
            "give drive=drive_here, or another number"
        )
    if ray.workers == "auto" or ray.gpus_per_trial == "auto":
        raise RunError(
            '[ray] "auto" of workers and gpus_per_trial is to be decided before trials are spread\n'
            "search_run does so; or give numbers"
        )
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


# Trains trials beside one another on ``[ray] workers`` long-lived workers.
drive_on_ray = Driver(_on_ray, ray_started)
