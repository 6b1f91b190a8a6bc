"""A session of Ray: one of this machine's own that ends with the search, or a cluster's."""

import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray._private import auto_init_hook, ray_constants
from ray._private.ray_logging import stdout_deduplicator
from ray.tune.execution.tune_controller import TuneController

from nas_fpn.errors import RunError
from nas_fpn.lock import Lock

__all__ = ["no_other_session", "session", "started", "starts_let_be"]

LOCK = "driver.lock"  # in the folder of a session, held while it lasts

# Read by Tune in the driver: no snapshots and no log files of a state that lies in our record, no
# long wait for workers that are to stop.
TUNE_ENVIRONMENT = {
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def session(
    address: str, resources: Mapping[str, float], *, workers: int, threads: int
) -> Iterator[tuple[str, str]]:
    """A folder for what Tune writes, and the address of the session's dashboard, "" without one."""
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    stdout_deduplicator.skip_re = re.compile("")  # nor its prints of workers that died
    with _folder() as folder:
        if ray.is_initialized():
            there = ray.init(ignore_reinit_error=True, configure_logging=False)
            yield folder, there.dashboard_url or ""
            return
        settings: dict[str, Any] = {
            "address": address,
            "logging_level": logging.CRITICAL,
            "log_to_driver": False,
        }
        variables = {"OMP_NUM_THREADS": str(threads), "RAY_CHDIR_TO_TRIAL_DIR": "0"}
        if address == "local":
            # The workers run what this process runs, installed or not.
            paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            settings |= {
                "num_cpus": max(1, -int(-workers * resources["cpu"] // 1)),
                "num_gpus": torch.cuda.device_count(),  # Ray's own count may miss some of them
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        with _loopback(on=address == "local"):
            context = started({**settings, "runtime_env": {"env_vars": variables}})
        try:
            if address == "local":
                _check(resources, ray.cluster_resources())
            yield folder, context.dashboard_url or ""
        finally:
            ray.shutdown()


def started(settings: Mapping[str, Any]) -> Any:
    """What ``ray.init`` gives for ``settings``.

    Where it starts Ray here, that has 120 s: on a machine that is busy, or reads Ray for the first
    time, its processes may take longer than the 30 s that Ray allows. Raises :class:`RunError`
    where they are not enough.
    """
    here = settings["address"] == "local"
    if here:
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    try:
        return ray.init(**settings)
    except Exception as error:  # of no class of its own
        if not here or "timed out during startup" not in str(error):
            raise
    raise RunError(
        "Ray does not start here: its processes do not answer in time\n"
        "try again when this machine is less busy, or with RAY_raylet_start_wait_time_s=300 set;\n"
        "[ray] workers = 0 trains without Ray"
    )


@contextmanager
def starts_let_be() -> Iterator[None]:
    """Meanwhile a worker that starts keeps its trial.

    Else Tune gives that to the first worker that is done, and ends the one that starts: a node that
    joins late, or a worker in the place of one that died, would wait for trials that take longer
    than a start.
    """
    reuse = TuneController._maybe_reuse_cached_actor

    def unless_it_starts(self: Any, trial: Any) -> bool:
        own = self._trial_to_actor.get(trial)
        starts = own is not None and self._actor_manager.is_actor_started(own)
        if starts and trial not in self._resetting_trials:
            return False
        return bool(reuse(self, trial))

    TuneController._maybe_reuse_cached_actor = unless_it_starts
    try:
        yield
    finally:
        TuneController._maybe_reuse_cached_actor = reuse


@contextmanager
def no_other_session() -> Iterator[None]:
    """Meanwhile a call that finds Ray gone fails.

    Else it would start a session: one that nobody ends, and that listens on all addresses.
    """
    was, auto_init_hook.enable_auto_connect = auto_init_hook.enable_auto_connect, False
    try:
        yield
    finally:
        auto_init_hook.enable_auto_connect = was


@contextmanager
def _folder() -> Iterator[str]:
    """A folder while it lasts. One that a killed search has left, with what Ray wrote, goes now."""
    # Short: the path of a socket has room for about a hundred characters, Ray's own take eighty.
    short = "/tmp" if Path("/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="nf", dir=short, ignore_cleanup_errors=True) as folder:
        for left in Path(folder).parent.glob(f"nf*/{LOCK}"):
            if left.parent.lstat().st_uid == os.getuid() and not left.parent.is_symlink():
                _remove(left)
        with Lock(Path(folder) / LOCK):
            yield folder


def _remove(left: Path) -> None:
    """The folder of a lock, if nobody holds it."""
    try:
        with Lock(left):
            shutil.rmtree(left.parent, ignore_errors=True)
    except (RunError, OSError):  # a search holds it, or has just ended
        return


@contextmanager
def _loopback(*, on: bool) -> Iterator[None]:
    """What Ray starts meanwhile listens on 127.0.0.1 only, and asks for a token.

    Else every process of it would listen on all addresses of the machine and run what anybody
    sends. Ray has this for macOS and Windows, by a constant and a variable. It asks for a token
    unless ``RAY_AUTH_MODE`` says otherwise; one in the environment leaves none at home.
    """
    if not on:
        yield
        return
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    name, was = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _check(resources: Mapping[str, float], there: Mapping[str, float]) -> None:
    for name, needed in resources.items():
        most = there.get(name.upper(), 0.0)
        if needed > most:
            raise RunError(
                f"[ray]: a trial takes {needed:g} {name.upper()}, but this machine has {most:g}\n"
                f"set {name}s_per_trial to at most {most:g}"
            )
