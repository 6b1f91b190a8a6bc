"""The proxy: train a neck and a small dense head on stored features, and score them.

All candidates of a run meet the same numbers (common random numbers): the head starts from the
same weights, and each step sees the same images in the same views, whatever the neck.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nas_fpn.detect.anchor_detector import AnchorDetector
from nas_fpn.detect.anchor_head import AnchorHead
from nas_fpn.detect.anchors import squares
from nas_fpn.detect.detector import Detector, Pyramid
from nas_fpn.detect.head import DenseHead
from nas_fpn.detect.mixed import mixed_precision
from nas_fpn.detect.settings import REACH
from nas_fpn.detect.targets import size_ranges
from nas_fpn.errors import RunError
from nas_fpn.proxy.bank import Bank, Split
from nas_fpn.proxy.checkpoint import Checkpoint
from nas_fpn.proxy.feeding import Feed, Table, memory_of, placed
from nas_fpn.proxy.graph import CudaRecorder, Recorder
from nas_fpn.proxy.optimise import Schedule, draw_order, optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.validate import Batch, validate
from nas_fpn.record import Report

__all__ = [
    "Training",
    "make_detector",
    "pick_device",
    "prepare_training",
    "proxy_schedule",
    "train",
]


def train(
    neck: Pyramid,
    bank: Bank,
    settings: ProxySettings,
    *,
    seed: int,
    split: Literal["val", "test"] = "val",
    rungs: tuple[int, ...] = (),
    checkpoint: Checkpoint | None = None,
) -> Iterator[Report]:
    """Train ``neck`` in place with a fresh head on the bank's train split; yield its reports.

    The scores of a report: ap, ap50, ap75, ap_small, ap_medium, ap_large and ap/<class> on
    ``split`` (those that have ground truth), and "loss", the mean training loss since the last; on
    a CUDA device also "replayed", the part of the steps since that came from a captured one.
    ``rungs`` are steps to report at beside the settings' evaluations. ``checkpoint`` says where
    the training goes on and where it is put aside; ``neck`` is then as it was before any step.
    The same arguments give the same reports, bit for bit, on a CPU with as many threads.
    A batch that a device has no memory for is taken in halves, whose gradients add up to its own
    (but for BatchNorm, which then sees half a batch, and once more what it had seen of the whole
    one before memory was out), and in halves of those.
    Raises ``FloatingPointError`` if training diverged, ``ValueError`` if the bank lacks a level.
    """
    training = prepare_training(neck, bank, settings, seed=seed, split=split)
    try:
        yield from optimise(
            training.detector,
            proxy_schedule(settings, rungs),
            loss=training.loss,
            evaluate=training.evaluate,
            halve=training.halve,
            checkpoint=checkpoint,
            recorder=training.recorder,
        )
    finally:
        training.detector.to(memory_format=torch.contiguous_format)


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A training about to begin: the detector on its device, the loss of a step, the scores.

    The loss of a step comes in parts, of which each takes its memory when it is asked for;
    ``halve()`` doubles their number, and says whether there are images for so many. All parts read
    the same tensor of rows, which the call fills, so that a ``recorder`` can capture them; it is
    None where a step cannot be captured or shall not be.
    """

    detector: Detector | AnchorDetector
    loss: Callable[[int], Iterable[Tensor]]
    evaluate: Callable[[], dict[str, float]]
    halve: Callable[[], bool]
    recorder: Recorder | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The loss of the images ``rows``, in so many parts, each computed when it is asked for."""

    rows: Tensor
    number: int
    share: Callable[[Tensor, Tensor], Tensor]

    def __iter__(self) -> Iterator[Tensor]:
        return (self.share(some, self.rows) for some in self.rows.chunk(self.number))


def prepare_training(
    neck: Pyramid,
    bank: Bank,
    settings: ProxySettings,
    *,
    seed: int,
    split: Literal["val", "test"] = "val",
) -> Training:
    """All that :func:`train` does before its first step; the arguments are its."""
    missing = [level for level in neck.inputs if level not in bank.levels]
    if missing:
        raise ValueError(
            f"the neck reads levels {tuple(neck.inputs)}, but the bank has {bank.levels}; "
            f"build it with {missing}, or take a neck that does not read them"
        )
    device = pick_device(settings.device)
    detector = make_detector(neck, settings, num_classes=len(bank.categories), seed=seed)
    detector.to(device).to(memory_format=torch.channels_last)
    data, held_out = placed(bank.train, device), placed(getattr(bank, split), device)
    order = draw_order(
        *_images_and_views(bank.train),
        batch_size=settings.batch_size,
        steps=settings.steps,
        seed=seed,
    ).to(data.boxes.device)
    feed, memory = Feed(data, neck.inputs, device), memory_of(data)

    parts = 1  # of a batch, one after another
    rows = order[0].clone()  # of the step, always the same tensor
    table: Table | None = None  # held here: a captured step reads it whatever the memory forgets

    def loss(step: int) -> Iterable[Tensor]:
        rows.copy_(order[step])
        return _Parts(rows, parts, share)

    def learnt(those: Tensor, cells: Any) -> Tensor:
        nonlocal table
        if table is None:
            table = memory.table(cells.counts, rule=detector.rule)
        found = table.index(those, lambda *truth: detector.assign(cells, *truth), device=device)
        return found.to(device)

    def share(some: Tensor, rows: Tensor) -> Tensor:
        """What the images ``some`` of a batch add to its loss."""
        weight: Tensor | float = 1.0

        def assign(cells: Any) -> Tensor:
            nonlocal weight
            found = learnt(some, cells)
            if len(some) < len(rows):
                weight = detector.share(found, learnt(rows, cells))
            return found

        boxes, labels = data.boxes[some].to(device), data.labels[some].to(device)
        with mixed_precision(device, settings.precision):
            total = detector.losses(feed(some), boxes, labels, assign=assign).total
        return total if len(some) == len(rows) else total * weight

    def halve() -> bool:
        nonlocal parts
        parts *= 2
        return parts <= settings.batch_size

    def evaluate() -> dict[str, float]:
        batches = _batches(held_out, neck.inputs, settings.batch_size, device)
        with mixed_precision(device, settings.precision):
            return validate(detector, batches, truth=bank.truth[split], categories=bank.categories)

    resident = data.boxes.device.type == "cuda"
    recorder = CudaRecorder(device) if resident and settings.graphs else None
    return Training(detector, loss, evaluate, halve, recorder)


def make_detector(
    neck: Pyramid,
    settings: ProxySettings,
    *,
    num_classes: int,
    seed: int,
    backbone: nn.Module | None = None,
) -> Detector | AnchorDetector:
    """``neck`` with the settings' head, started from ``seed``; the same for proxy and benchmark.

    Its levels learn boxes of the sizes that those of the detectors trained end to end do, and its
    boxes start with sides as far away: where they do not, necks rank otherwise (docs/proxy.md).
    """
    size, smallest = settings.image_size, settings.anchor_size
    sides = (settings.reach or REACH) * squares(neck.levels, size, smallest=smallest)[0]  # pixels
    dense = partial(DenseHead, reach=sides / neck.strides[0])
    kind: Callable[..., AnchorHead | DenseHead]
    kind = AnchorHead if settings.head == "retinanet" else dense
    head = kind(
        neck.out_channels,
        num_classes,
        levels=neck.levels,
        width=settings.head_width,
        depth=settings.head_depth,
        tower=settings.tower,
        seed=seed,
    )
    if isinstance(head, AnchorHead):
        return AnchorDetector(neck, head, image_size=size, anchor_size=smallest, backbone=backbone)
    ranges = size_ranges(neck.levels, size, anchor_size=smallest)
    return Detector(neck, head, image_size=size, backbone=backbone, ranges=ranges)


def pick_device(name: Literal["cpu", "cuda", "auto"]) -> torch.device:
    """The device of the settings; "auto" is CUDA where there is one.

    Raises ``RunError`` for "cuda" where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError(
            '[proxy] device = "cuda": torch finds no CUDA device here; set "cpu", or "auto" to '
            "take one where there is one"
        )
    return torch.device(name)


def proxy_schedule(settings: ProxySettings, rungs: tuple[int, ...] = ()) -> Schedule:
    """The schedule that the settings describe, with reports at ``rungs`` too."""
    return Schedule(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        evaluations=settings.evaluations,
        optimiser=settings.optimiser,
        warmup=settings.warmup,
        clip=settings.clip,
        rungs=rungs,
    )


def _images_and_views(split: Split) -> tuple[int, int]:
    rows = len(split.image_ids)
    views = int((split.image_ids == split.image_ids[0]).sum())
    return rows // views, views


def _batches(
    split: Split, levels: Sequence[int], size: int, device: torch.device
) -> Iterator[Batch]:
    for start in range(0, len(split.image_ids), size):
        rows = slice(start, start + size)
        features = {level: split.features[level][rows] for level in levels}
        yield (
            {k: f.to(device, torch.float32, non_blocking=True) for k, f in features.items()},
            split.image_ids[rows],
            split.scales[rows],
        )
