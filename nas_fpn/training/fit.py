"""Training a detector end to end: a generator of reports, which a killed process can take up again.

The detector is any module in torchvision's convention. What a step sees follows from the seed and
the number of the step alone, so necks are compared on equal batches (common random numbers), and a
training that goes on after an interruption gives the numbers of one that was never interrupted.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from nas_fpn.detect.dataset import Dataset, to_coco
from nas_fpn.detect.evaluate import average_precision
from nas_fpn.detect.mixed import mixed_precision, whole_boxes
from nas_fpn.errors import RunError
from nas_fpn.record import Report
from nas_fpn.training.average import follow, make_average
from nas_fpn.training.checkpoint import Checkpoint, restore, store
from nas_fpn.training.detections import detect_all
from nas_fpn.training.freeze import freeze, stand_still
from nas_fpn.training.settings import TrainingSettings
from nas_fpn.training.views import Views, batches, stream_seed

__all__ = ["fit_detector", "pick_device", "rate_at", "report_steps"]

LOGGED = 50  # steps between two reports of the losses
CHANCE = 1  # the stream of what a model draws; the views have another


def fit_detector(
    model: nn.Module,
    train: Dataset,
    settings: TrainingSettings,
    *,
    seed: int,
    val: Dataset | None = None,
    label_offset: int = 0,
    backbones: Sequence[nn.Module] = (),
    checkpoint: Checkpoint | None = None,
) -> Iterator[Report]:
    """Train ``model`` in place; yield its losses now and then, and its AP on ``val``.

    ``model`` takes images [3, S, S] in 0..1 and targets ("boxes" xyxy in network pixels,
    "labels", ours plus ``label_offset``; "proposals" if the data has some) to a dict of losses.
    ``backbones`` are the parts of it that came with weights: the settings freeze some of each, and
    the rest learns slower; without, all learns alike. A report has "loss", "loss/NAME" (means since
    the last one) and "rate"; at an evaluation the scores of :func:`average_precision` too, of the
    averaged weights.
    After the last report ``model`` holds the averaged weights and is in evaluation mode.

    With a ``checkpoint`` the training goes on from it; on a CPU with as many threads the numbers
    are those of a training that was not interrupted, bit for bit. Reports from before are not
    given again. Raises ``FloatingPointError`` at the next report if a loss or a gradient was not
    finite, naming the step, and ``RunError`` where the device is missing.
    """
    began = time.perf_counter()
    device = pick_device(settings.device)
    still = tuple(
        part
        for one in backbones
        for part in freeze(one, level=settings.freeze_level, norms=settings.freeze_norms)
    )
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = make_average(model)
    steps = settings.steps_for(len(train.images))
    slow = [p for one in backbones for p in one.parameters() if p.requires_grad]
    optimiser = _optimiser(model, settings, slow=slow)
    first, before = 0, 0.0
    if checkpoint is not None:
        first, before = restore(checkpoint, model, average, optimiser)
    views = Views(train, settings, seed=seed, length=steps * settings.batch_size)
    scored, reported = report_steps(settings, steps)
    sums = _Sums(steps, device)
    _train_mode(model, still)
    seen = batches(views, batch_size=settings.batch_size, first=first, loaders=settings.loaders)
    for step, (pixels, boxes, labels, proposals) in enumerate(seen, start=first):
        rate = rate_at(step, settings, steps)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["part"]
        targets = [
            {"boxes": b.to(device), "labels": k.to(device) + label_offset}
            for b, k in zip(boxes, labels, strict=True)
        ]
        if train.proposals is not None:
            for target, given in zip(targets, proposals, strict=True):
                target["proposals"] = given.to(device)
        with _chance(device, stream_seed(seed, step, CHANCE)), _computing(model, device, settings):
            losses = model(list(pixels.to(device).float() / 255), targets)
        losses = {f"loss/{name}": value.float() for name, value in losses.items()}
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        follow(average, model, decay=settings.ema, step=step)
        sums.add({"loss": total, **losses}, norm=norm, step=step)
        done = step + 1
        if done not in reported:
            continue
        scores = {**sums.means(settings), "rate": rate}
        if done in scored and val is not None:
            scores |= score(average, val, settings, label_offset=label_offset)
        report = Report(done, scores, before + time.perf_counter() - began)
        if checkpoint is not None and (done % settings.checkpoint_steps == 0 or done == steps):
            seconds = report.seconds
            store(checkpoint, model, average, optimiser, steps=done, seconds=seconds)
        yield report
    model.load_state_dict(average.state_dict())
    model.eval()


def score(
    model: nn.Module, dataset: Dataset, settings: TrainingSettings, *, label_offset: int
) -> dict[str, float]:
    """The AP of a model on a data set, as :func:`average_precision` says it."""
    found = detect_all(
        model,
        dataset,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        label_offset=label_offset,
    )
    return average_precision(to_coco(dataset), found, categories=dataset.categories)


def pick_device(name: Literal["cpu", "cuda", "auto"]) -> torch.device:
    """The device of the settings; "auto" is CUDA where there is one.

    Raises ``RunError`` for "cuda" where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError(
            '[training] device = "cuda": torch finds no CUDA device here; set "cpu", or "auto" to '
            "take one where there is one"
        )
    return torch.device(name)


def rate_at(step: int, settings: TrainingSettings, steps: int) -> float:
    """The learning rate of a step of ``steps``; they count from 0."""
    rise = max(round(steps * settings.warmup), 1)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    if settings.schedule == "step":
        drops = (step >= steps * 2 / 3) + (step >= steps * 8 / 9)
        return settings.learning_rate * 0.1**drops
    part = (step - rise) / max(steps - rise, 1)
    return settings.learning_rate * (1 + math.cos(math.pi * part)) / 2


def report_steps(settings: TrainingSettings, steps: int) -> tuple[frozenset[int], frozenset[int]]:
    """After which steps there are scores, and after which a report at all."""
    scored = {
        max(round(steps * part / settings.evaluations), 1)
        for part in range(1, settings.evaluations + 1)
    }
    logged = {*range(LOGGED, steps + 1, LOGGED)}
    kept = {*range(settings.checkpoint_steps, steps + 1, settings.checkpoint_steps)}
    return frozenset(scored), frozenset(scored | logged | kept | {steps})


class _Sums:
    """Losses since the last report; nothing is read from the device before it is asked for."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.steps = steps
        self.first_bad = torch.full((), steps, device=device)
        self.parts: dict[str, Tensor] = {}
        self.count = 0

    def add(self, parts: dict[str, Tensor], *, norm: Tensor, step: int) -> None:
        """Take the losses of a step, "loss" among them, and the norm of its gradient."""
        is_bad = ~(parts["loss"] + norm).isfinite()
        self.first_bad = torch.where(is_bad, self.first_bad.clamp(max=step), self.first_bad)
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(value)) + value.detach()
        self.count += 1

    def means(self, settings: TrainingSettings) -> dict[str, float]:
        """The means, then forgotten. Raises ``FloatingPointError`` if one was not finite."""
        if (first_bad := int(self.first_bad)) < self.steps:
            raise FloatingPointError(
                f"the loss or its gradient is not finite from step {first_bad + 1} of "
                f"{self.steps} on; try a learning_rate below {settings.learning_rate:g}"
            )
        means = {name: float(value) / self.count for name, value in self.parts.items()}
        self.parts, self.count = {}, 0
        return means


def _train_mode(model: nn.Module, still: tuple[nn.Module, ...]) -> None:
    model.train()
    stand_still(still)


def _optimiser(
    model: nn.Module, settings: TrainingSettings, *, slow: list[nn.Parameter]
) -> torch.optim.Optimizer:
    """Kernels decay, norms and biases do not; what came with weights has a rate of its own."""
    is_slow = set(map(id, slow))
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in learning if (id(p) in is_slow) == old and (p.ndim > 1) == decays],
            "weight_decay": settings.weight_decay if decays else 0.0,
            "part": settings.backbone_rate if old else 1.0,
        }
        for old in (False, True)
        for decays in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, settings.learning_rate, fused=True)


@contextmanager
def _computing(
    model: nn.Module, device: torch.device, settings: TrainingSettings
) -> Iterator[None]:
    """The precision of the settings; boxes are float32 in each."""
    if settings.precision == "float32":
        yield
        return
    with mixed_precision(device, settings.precision), whole_boxes(model):
        yield


@contextmanager
def _chance(device: torch.device, seed: int) -> Iterator[None]:
    """What a model draws, a sampler or a dropout, comes from ``seed``; all else is as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
