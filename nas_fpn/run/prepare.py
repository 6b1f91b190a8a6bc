"""From images to the bank: the data read, the backbone made ready, its features stored.

What has been made stays in the run's folder and is found again: ``data/`` (the embedded scenes)
and ``bank/`` (a backbone that was trained here, and the features).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nas_fpn.detect.evaluate import Detections, average_precision
from nas_fpn.errors import RunError
from nas_fpn.language import Architecture
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.run.backbones import Step, needs_warmup, ready_backbones
from nas_fpn.run.data import read_data
from nas_fpn.run.settings import Run

__all__ = ["Prepared", "Step", "check_measured", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The finished bank, and what was decided about its data that every answer must say.

    ``warmed`` is the file with the weights of a backbone that was warmed up, the state dict of its
    net; None where it came with weights.
    """

    bank: Path
    notes: tuple[str, ...]
    warmed: Path | None = None


def prepare(
    run: Run, levels: Sequence[int], *, warmup_neck: Architecture
) -> Generator[Step, None, Prepared]:
    """Make the bank of a run for the backbone's ``levels``; yield how far it is.

    ``warmup_neck`` is trained with a backbone that is warmed up or tuned, and then thrown away.

    Raises:
        DataError, RunError: for what is wrong with data, backbone or weights.
        FloatingPointError: when the warm-up diverged.
    """
    settings = run.settings.proxy
    yield Step("reading the data", 0, 1)
    data = read_data(
        run.data,
        run.folder / "data",
        image_size=settings.image_size,
        needs_warmup=needs_warmup(run.backbone),
    )
    yield Step("reading the data", 1, 1)
    folder = run.folder / "bank"
    ready = yield from ready_backbones(run, data, levels, neck=warmup_neck)
    steps = build_bank(
        folder,
        backbone=ready.backbone,
        train=data.train,
        val=data.val,
        test=data.test,
        settings=settings,
    )
    path = folder
    for built in steps:
        path = built.path
        yield Step("storing features", built.done, built.total)
    return Prepared(path, (*data.notes, *ready.notes), ready.warmed)


def check_measured(bank: Bank, split: str, names: Sequence[str]) -> None:
    """Raise RunError where a split has no object to measure one of these AP on."""
    nothing = Detections(*(torch.zeros(shape) for shape in ((0,), (0, 4), (0,), (0,))))
    known = average_precision(bank.truth[split], nothing, categories=bank.categories)
    if missing := [name for name in names if name not in known]:
        there = ", ".join(name for name in known if "/" not in name) or "no AP at all"
        raise RunError(
            f"objective: {split} has no object to measure {', '.join(missing)} on; "
            f"there is {there}\n"
            "small is below 32 x 32 pixels of the stored image, large from 96 x 96; "
            f"take another objective, or other images for {split}"
        )
