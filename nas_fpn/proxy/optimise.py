"""The training loop that the proxy, the warm-up and the end-to-end benchmark share.

A generator of reports: the caller decides about logs, stopping and failures. Between two
reports nothing is read from the device, so that it never waits for the host.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from nas_fpn.proxy.checkpoint import Checkpoint, restore, store
from nas_fpn.proxy.graph import Recorder, Recording, give_back
from nas_fpn.record import Report

__all__ = ["Schedule", "draw_order", "is_out_of_memory", "optimise"]

# What torch says, its libraries, cuDNN where no algorithm finds room to work in, and a CPU.
NO_MEMORY = ("out of memory", "alloc_failed", "unable to find an engine", "can't allocate memory")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train.

    The learning rate rises linearly over the first ``warmup`` of the ``steps`` and falls to zero
    along a cosine. Matrices and filters decay by ``weight_decay``; biases, norms and fusion
    weights do not. ``clip`` bounds the norm of the gradient of all parameters together.
    ``evaluations`` are spread evenly over the steps, the last at the end; those after ``rungs``,
    numbers of steps, come on top.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    evaluations: int = 1
    optimiser: Literal["adamw", "sgd"] = "adamw"
    warmup: float = 0.05
    clip: float = 10.0
    rungs: tuple[int, ...] = ()

    def report_at(self) -> frozenset[int]:
        """The numbers of steps after which to evaluate."""
        return frozenset(
            max(round(self.steps * part / self.evaluations), 1)
            for part in range(1, self.evaluations + 1)
        ) | {*self.rungs}

    def rate_at(self, step: int) -> float:
        """The learning rate of a step; steps count from 0."""
        rise = max(round(self.steps * self.warmup), 1)
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        part = (step - rise) / max(self.steps - rise, 1)
        return self.learning_rate * (1 + math.cos(math.pi * part)) / 2


def optimise(
    model: nn.Module,
    schedule: Schedule,
    *,
    loss: Callable[[int], Tensor | Iterable[Tensor]],
    evaluate: Callable[[], Mapping[str, float]],
    halve: Callable[[], bool] | None = None,
    checkpoint: Checkpoint | None = None,
    recorder: Recorder | None = None,
) -> Iterator[Report]:
    """Train ``model`` in place; report what ``evaluate()`` says, and "loss", its mean since.

    ``loss(step)`` is the loss of a step's batch, a scalar, or its parts, which add up to it and of
    which each is let go before the next. Where memory is out and ``halve()`` says that the parts
    are smaller from now on, the step begins anew. Raises ``FloatingPointError`` at the next report
    if a loss or a gradient was not finite, naming the step.

    A ``recorder`` captures forward and backward and replays them (:mod:`nas_fpn.proxy.graph`).
    ``loss(step)`` then gives parts that can be gone through again: the call puts what the step
    needs in place, and the parts are computed from there, with no other trace of the step. Where
    an evaluation has no memory beside the graph, it is let go. Reports then say "replayed" too, the
    part of the steps since the last.

    With a ``checkpoint`` the training goes on from it, and on a CPU its reports are those of one
    that was never put aside, bit for bit. It ends at the checkpoint's pause, which must be one of
    the steps of the schedule's reports; the file is written before that report leaves.
    """
    began = time.perf_counter()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = _optimiser(parameters, schedule)
    device = parameters[0].device
    first, before = (0, 0.0) if checkpoint is None else restore(checkpoint, model, optimiser)
    first_bad = torch.full((), schedule.steps, device=device)
    total, since = torch.zeros((), device=device), 0
    report_at = schedule.report_at()
    recording = None if recorder is None else Recording(model, recorder)
    model.train()
    try:
        for step in range(first, schedule.steps):
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate_at(step)
            value = _gradients(optimiser, loss, step, halve, recording)
            norm = nn.utils.clip_grad_norm_(parameters, schedule.clip)
            optimiser.step()
            is_bad = ~(value + norm).isfinite()
            first_bad = torch.where(is_bad, first_bad.clamp(max=step), first_bad)
            total, since = total + value, since + 1
            if step + 1 in report_at:
                _check(int(first_bad), schedule)
                model.eval()
                scores = {**_scores(evaluate, recording), "loss": float(total) / since}
                if recording is not None:
                    scores["replayed"] = recording.replayed() / since
                model.train()
                total, since = torch.zeros_like(total), 0
                report = Report(step + 1, scores, before + time.perf_counter() - began)
                if checkpoint is not None and step + 1 == checkpoint.pause:
                    store(checkpoint, model, optimiser, steps=step + 1, seconds=report.seconds)
                    yield report
                    return
                yield report
    finally:
        if recording is not None:
            recording.close()
        if device.type == "cuda":  # the graph's memory serves no other, and others share the device
            give_back()


def _gradients(
    optimiser: torch.optim.Optimizer,
    loss: Callable[[int], Tensor | Iterable[Tensor]],
    step: int,
    halve: Callable[[], bool] | None,
    recording: Recording | None,
) -> Tensor:
    """Leave the gradients of a step with the parameters; return its loss."""
    while True:
        given = loss(step)
        run = partial(_backward, optimiser, given)
        try:
            return run() if recording is None else recording(run)
        except RuntimeError as fault:
            if not is_out_of_memory(fault) or halve is None or not halve():
                raise
        if recording is not None:
            recording.restart()
        give_back()


def _backward(optimiser: torch.optim.Optimizer, given: Tensor | Iterable[Tensor]) -> Tensor:
    optimiser.zero_grad()
    values = []
    for part in [given] if isinstance(given, Tensor) else given:
        part.backward()
        values.append(part.detach())
    return values[0] if len(values) == 1 else torch.stack(values).sum()


def _scores(
    evaluate: Callable[[], Mapping[str, float]], recording: Recording | None
) -> Mapping[str, float]:
    try:
        return evaluate()
    except RuntimeError as fault:
        if recording is None or not recording.replays or not is_out_of_memory(fault):
            raise
    recording.refuse("an evaluation has no memory beside it")
    give_back()
    return evaluate()


def is_out_of_memory(fault: RuntimeError) -> bool:
    """Whether it says that there is no memory: torch's own error, or one of its libraries'."""
    text = str(fault).lower()
    return isinstance(fault, torch.OutOfMemoryError) or any(said in text for said in NO_MEMORY)


def draw_order(images: int, views: int, *, batch_size: int, steps: int, seed: int) -> Tensor:
    """Which rows each step trains on, int64 [steps, batch_size], from ``seed`` alone.

    Image after image in random order, each in a random view, until all images were seen; then
    again. Rows are view-major: ``view * images + image``.
    """
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-steps * batch_size // images)
    order = torch.cat([torch.randperm(images, generator=generator) for _ in range(rounds)])
    view = torch.randint(views, (len(order),), generator=generator)
    return (view * images + order)[: steps * batch_size].view(steps, batch_size)


def _optimiser(parameters: list[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, schedule.learning_rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, schedule.learning_rate, fused=True)


def _check(first_bad: int, schedule: Schedule) -> None:
    if first_bad < schedule.steps:
        raise FloatingPointError(
            f"the loss or its gradient is not finite from step {first_bad + 1} of "
            f"{schedule.steps} on; try a learning_rate below {schedule.learning_rate:g}"
        )
