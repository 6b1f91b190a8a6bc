"""How long a trial will take: one neck's preparation, steps and evaluation, measured here and now.

Whoever plans a budget asks before the first trial; a training is cut after a few steps and thrown
away.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from time import perf_counter

import torch
from torch import Tensor

from nas_fpn.detect.detector import Pyramid
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import Training, pick_device, prepare_training, proxy_schedule

__all__ = ["Timing", "measure_trial", "now"]

WARM = 3  # first steps: allocation, choice of algorithms, pages of the bank, a graph's capture
STEPS = 12


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the parts of a trial: once its preparation, then each step and each evaluation."""

    step_s: float
    evaluation_s: float
    setup_s: float

    def seconds(self, steps: int, evaluations: int) -> float:
        """Of a trial of so many steps and evaluations."""
        return self.setup_s + steps * self.step_s + evaluations * self.evaluation_s


def measure_trial(
    bank: Bank, settings: ProxySettings, neck: Pyramid, *, seed: int, steps: int = STEPS
) -> Timing:
    """Train ``neck`` for 3 and then ``steps`` steps, and score it once; how long each part took.

    ``step_s`` is the median on a CPU; on a CUDA device, which is not waited for between steps, the
    mean. With the threads that torch has here and the device of the settings. ``neck`` is changed
    by it. The preparation does not count what made the neck, nor what a process does once for a
    CUDA device, as to bring the bank there, but what the first steps take beyond others, as to
    capture one. Scores of a neck that has learnt little take longer than those of one that has
    learnt: more of what it says passes the threshold. Raises as :func:`nas_fpn.proxy.train`.
    """
    brief = settings.model_copy(update={"steps": WARM + steps, "evaluations": 1})
    waits = pick_device(settings.device).type == "cpu"
    if not waits:  # what a worker's first trial waits for, and its others do not
        once = brief.model_copy(update={"steps": WARM})
        _run(replace(prepare_training(neck, bank, once, seed=seed), evaluate=dict), once)
    began = perf_counter()
    training = prepare_training(neck, bank, brief, seed=seed)
    moments: list[float] = []

    def loss(step: int) -> Iterable[Tensor]:
        moments.append(now() if waits or step == WARM else perf_counter())
        return training.loss(step)

    def end() -> dict[str, float]:
        moments.append(now())
        return {}

    _run(replace(training, loss=loss, evaluate=end), brief)
    warm = moments[-1 - steps :]  # a step without room for its batch is begun more than once
    each = [after - before for before, after in pairwise(warm)]
    step_s = statistics.median(each) if waits else statistics.mean(each)
    return Timing(
        step_s=step_s,
        evaluation_s=_evaluation(training),
        setup_s=max(warm[0] - began - WARM * step_s, moments[0] - began),
    )


def _run(training: Training, settings: ProxySettings) -> None:
    steps = optimise(
        training.detector,
        proxy_schedule(settings),
        loss=training.loss,
        evaluate=training.evaluate,
        halve=training.halve,
        recorder=training.recorder,
    )
    for _ in steps:
        pass


def _evaluation(training: Training) -> float:
    training.detector.eval()
    began = now()
    training.evaluate()
    return now() - began


def now() -> float:
    """The time when all that was asked of the device is done."""
    if torch.cuda.is_initialized():  # else nothing was asked of one, nor shall be for this
        torch.cuda.synchronize()
    return perf_counter()
