"""A search on Ray Tune: the loop of :mod:`nas_fpn.search.loop`, many trials at a time.

Tune starts, spreads, retries and reuses long-lived workers; what is next and what becomes of a
trial is the loop's, so that one worker writes the same record as ``local.py``, line for line.
"""

import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch  # isort: split  # before ray: a driver that loads torch late has been seen to die
from ray import tune
from ray.tune.search import Searcher

from nas_fpn.errors import RunError
from nas_fpn.record import Report
from nas_fpn.search.carry import Carried
from nas_fpn.search.cluster import no_other_session, session, starts_let_be
from nas_fpn.search.device import check_device
from nas_fpn.search.limit import too_long
from nas_fpn.search.local import advance, training
from nas_fpn.search.loop import Loop
from nas_fpn.search.nodes import Carrier, head_watched, room
from nas_fpn.search.plan import BeyondLimits, Due, Evaluate
from nas_fpn.search.progress import Noted, Progress

__all__ = ["search_on_ray"]

RETRIES = 2  # of a trial whose worker died; what the training raises is the trial's own failure
WARM_UP = 30.0  # seconds that the first worker waits for the others that there is room for
GRACE = 10.0  # seconds that workers get to end their step when a search is interrupted


def search_on_ray(
    loop: Loop,
    evaluate: Evaluate | Carried,
    *,
    workers: int,
    threads: int = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
    address: str = "local",
    seconds: float | None = None,
) -> Iterator[Progress]:
    """Train what the loop asks for, ``workers`` trials at a time, until it is over.

    ``evaluate`` travels to the workers once each, by pickle; of a :class:`Carried` the file goes
    once to each node of a cluster that does not see it. ``threads`` is what each may use of
    OpenMP and torch; ``cpus`` and ``gpus`` (a fraction shares one) are what a trial reserves.
    ``address`` "local" starts Ray here, on loopback, and stops it at the end; any other connects to
    a cluster, whose nodes need share no folder. A session of Ray that is there already is used.

    A trial whose worker dies is tried again twice, then failed. One that takes longer than
    ``seconds`` is failed at once, and its worker killed. When the time of the loop's clock is over
    what is in training is cut, and the workers go. Close the generator, or interrupt it,
    and the record that it leaves resumes. Raises :class:`RunError` when this machine can never
    run a trial or Ray is gone, OSError when a disk takes no more.
    """
    if workers < 1:
        raise RunError(f"workers must be at least 1, but got {workers}")
    resources = {"cpu": cpus, "gpu": gpus}
    with session(address, resources, workers=workers, threads=threads) as (folder, dashboard):
        if dashboard:
            yield Noted(f"Ray's dashboard: http://{dashboard}")
        carrier = None
        if isinstance(evaluate, Carried):
            if address == "local":
                evaluate = evaluate.make(evaluate.file)
            else:
                evaluate = carrier = Carrier(evaluate)
                yield from map(Noted, carrier.deliver(resources))
        there = room(resources)
        if not there:
            wanted = ", ".join(f"{v:g} {k.upper()}" for k, v in resources.items() if v)
            yield Noted(f"no node has what a trial takes, {wanted}; the search waits for one")
        bridge = _Bridge(loop, workers, there)
        worker = tune.with_parameters(_Worker, evaluate=evaluate, threads=threads)
        tuner = tune.Tuner(
            tune.with_resources(worker, resources),
            tune_config=tune.TuneConfig(
                search_alg=bridge,
                num_samples=-1,
                max_concurrent_trials=workers,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                stop=_Stopper(bridge),
                callbacks=[_Failures(bridge, seconds)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                # Else workers write into the storage, which their node would have to share.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        thread = threading.Thread(target=bridge.fit, args=(tuner,), daemon=True)
        thread.start()
        try:
            with head_watched(bridge.gone):
                while (progress := bridge.progress.get()) is not None:
                    yield progress
        finally:
            bridge.stopping = True
            thread.join(GRACE)
        if bridge.error is not None:
            raise bridge.error
        if carrier is not None:
            yield from map(Noted, carrier.latecomers())
    if loop.over:
        yield loop.ending()


class _Worker(tune.Trainable):  # type: ignore[misc]
    """A process that trains one neck after another; Tune steps it, one report a step."""

    def setup(self, config: Mapping[str, Any], *, evaluate: Evaluate, threads: int) -> None:
        """Once a process: the threads, and the first trial."""
        torch.set_num_threads(threads)
        self._evaluate = evaluate
        self.reset_config(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """The next trial."""
        due = Due(**new_config)
        self._number, self._warms_up = due.number, due.number < 0
        self._reports = iter(()) if self._warms_up else training(self._evaluate, due)
        return True

    def step(self) -> dict[str, Any]:
        """The next report, or how the training ended."""
        if self._warms_up:
            time.sleep(0.05)
            return {"warm": True, "done": False}
        try:
            report = advance(self._reports)
        except OSError as error:
            what = f"{error.strerror}, on {socket.gethostname()}"
            return {"full": [error.errno, what, error.filename], "done": True}
        if isinstance(report, Report):
            scores = dict(report.scores)
            return {"report": [report.steps, scores, report.seconds], "done": False}
        if isinstance(report, BeyondLimits):
            return {"rejected": str(report), "done": True}
        if report is not None:
            check_device(self._number)  # raises: the worker ends; another trains this and the next
        return {"failure": report or "", "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial that is cut short begins anew."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing was saved."""

    def cleanup(self) -> None:
        """Let go of the training under way."""
        self._reports = iter(())


class _Bridge(Searcher):  # type: ignore[misc]
    """Tune's side of the loop; every method runs in the thread of :meth:`fit`.

    Its first trials are none of the loop's: they hold the workers until all have started that there
    is room for. Else trials shorter than a start would all run on one worker.

    An error in here would be logged by Tune and forgotten: it is kept, and ends the search.
    """

    def __init__(self, loop: Loop, workers: int, there: int) -> None:
        super().__init__()
        self._workers = workers
        self._first = min(workers, max(there, 1))  # those that there is room for now
        self._warming = 0  # trials suggested to warm up
        self._warm: set[str] = set()  # those of them that have started
        self._since = 0.0
        self.progress: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self.stopping = False
        self._loop = loop
        self._numbers: dict[str, int] = {}  # of our trials, by Tune's id

    def __deepcopy__(self, memo: object) -> "_Bridge":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (str, ())  # Tune pickles its setup for a restore of its own, which we never do

    def fit(self, tuner: Any) -> None:
        """Run Tune to its end, or to that of the session, where workers do not end in time."""
        try:
            with starts_let_be(), no_other_session():
                tuner.fit()
        except ray.exceptions.RayError as error:
            self.gone(" ".join(str(error).split())[:200])
        except Exception as error:
            self._give_up(error)
        finally:
            self.progress.put(None)

    def gone(self, what: str) -> None:
        """The session of Ray is lost; Tune may never notice."""
        hint = "what is on record stays; once a head is there again, the same command goes on"
        self._give_up(RunError(f"Ray is gone: {what}\n{hint}"))
        self.progress.put(None)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune asks for a trial; None has it ask again later."""
        finished: str = Searcher.FINISHED
        if self.stopping:
            return finished
        if self._warming < self._workers:
            self._warming += 1
            return asdict(Due(-self._warming, ""))
        try:
            due = self._loop.next()
            self._publish()
        except Exception as error:
            self._give_up(error)
            return finished
        if due is None:
            return finished if self._loop.over else None
        self._numbers[trial_id] = due.number
        return asdict(due)

    def result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether a trial ends with this result."""
        if self.stopping:
            return True
        if "warm" in result:
            self._since = self._since or time.monotonic()
            self._warm.add(trial_id)
            waited = time.monotonic() - self._since
            return len(self._warm) >= self._first or waited > WARM_UP
        number = self._numbers[trial_id]
        if "full" in result:
            self._give_up(OSError(*result["full"]))
            return True
        try:
            if "report" in result:
                goes_on = self._loop.report(number, Report(*result["report"]))
            elif "rejected" in result:
                self._loop.reject(number, result["rejected"])
                goes_on = False
            else:
                self._loop.finish(number, failure=result["failure"] or None)
                goes_on = False
            self._publish()
        except Exception as error:
            self._give_up(error)
            return True
        return not goes_on

    def died(self, trial_id: str, reason: str) -> None:
        """A trial's worker died once too often."""
        if self.stopping:
            return
        if trial_id not in self._numbers:
            self._give_up(RunError(f"a worker cannot start: {reason}"))
            return
        try:
            self._loop.finish(self._numbers[trial_id], failure=reason)
            self._publish()
        except Exception as error:
            self._give_up(error)

    def look_at_clock(self) -> None:
        """Once the time of the search is over, cut what is in training. Tune asks at each step."""
        clock = self._loop.clock
        if clock is None or self.stopping or clock.left() > 0:
            return
        try:
            for number in self._numbers.values():
                self._loop.cut(number)
            self._loop.next()  # what is paused goes no further
            self._publish()
        except Exception as error:
            self._give_up(error)
        self.stopping = True

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Known already, from :meth:`result` or :meth:`died`."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved."""

    def _publish(self) -> None:
        for progress in self._loop.drain():
            self.progress.put(progress)

    def _give_up(self, error: BaseException) -> None:
        if not self.stopping:
            self.error = error
        self.stopping = True


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """Where Tune shows each result first and asks whether to go on."""

    def __init__(self, bridge: _Bridge) -> None:
        self._bridge = bridge

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return self._bridge.result(trial_id, result)

    def stop_all(self) -> bool:
        """Whether the search was interrupted, has met an error, or its time is over."""
        self._bridge.look_at_clock()
        return self._bridge.stopping


class _Failures(tune.Callback):  # type: ignore[misc]
    """Where Tune says that it has given a trial up, and a training that hangs is ended."""

    def __init__(self, bridge: _Bridge, seconds: float | None) -> None:
        self._bridge = bridge
        self._seconds = seconds
        self._since: dict[str, tuple[float, Any]] = {}  # when a trial began, and Tune's own of it
        self._late: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: object) -> None:
        """Of each attempt, when its worker is there."""
        if trial.config["number"] >= 0:
            self._since[trial.trial_id] = time.monotonic(), trial

    def on_step_end(self, iteration: int, trials: list[Any], **info: object) -> None:
        """About ten times a second: kill the worker of a trial that is late, for good."""
        for trial_id, (since, trial) in tuple(self._since.items()):
            worker = trial.temporary_state.ray_actor
            if self._seconds is None or time.monotonic() - since <= self._seconds or worker is None:
                continue
            del self._since[trial_id]
            self._late.add(trial_id)
            trial.max_failures = 0  # it would hang again
            ray.kill(worker)

    def on_trial_complete(
        self, iteration: int, trials: list[Any], trial: Any, **info: object
    ) -> None:
        """Its worker is another trial's from now on."""
        self._since.pop(trial.trial_id, None)

    def on_trial_recover(
        self, iteration: int, trials: list[Any], trial: Any, **info: object
    ) -> None:
        """Its worker died; another attempt follows."""
        self._since.pop(trial.trial_id, None)
        if (number := trial.config["number"]) >= 0:
            self._bridge.progress.put(Noted(f"trial {number} begins again: its worker has died"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: object) -> None:
        """After the last retry."""
        self._since.pop(trial.trial_id, None)
        if trial.trial_id in self._late:
            assert self._seconds is not None
            self._bridge.died(trial.trial_id, too_long(self._seconds))
            return
        lines = Path(trial.error_file).read_text().split("\n")
        what = next(filter(None, map(str.strip, reversed(lines))), "")[:200]
        self._bridge.died(trial.trial_id, f"the worker died in {RETRIES + 1} attempts: {what}")


def _name(trial: Any) -> str:
    number, begin = trial.config["number"], trial.config["begin"]
    if number < 0:
        return f"warm-up{-number}"
    name = f"trial{number}-{trial.config['neck']}"
    return f"{name}-from{begin}" if begin else name
