"""A small bank, shipped necks, and trainings on them whose steps somebody captures."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nas_fpn.detect.dataset import Category
from nas_fpn.language import find_neck, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.bank import Bank, Split
from nas_fpn.proxy.checkpoint import Checkpoint
from nas_fpn.proxy.graph import WARM, Recorder, Run
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import prepare_training, proxy_schedule
from nas_fpn.record import Report

SIZE, LEVELS, CLASSES, BOXES = 64, (2, 3, 4, 5), 2, 3
FEW = ("fpn", "yolox")  # the second has batch norms, whose statistics a step moves
SETTINGS = ProxySettings(
    image_size=SIZE, steps=WARM + 3, batch_size=2, views=1, head_width=8, evaluations=2
)


def make_split(rows: int, seed: int) -> Split:
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, BOXES, 2, generator=g) * 30
    return Split(
        {k: torch.randn(rows, 8, SIZE >> k, SIZE >> k, generator=g) for k in LEVELS},
        boxes=torch.cat((corner, corner + 10 + torch.rand(rows, BOXES, 2, generator=g) * 20), 2),
        labels=torch.randint(CLASSES, (rows, BOXES), generator=g),
        image_ids=torch.arange(rows),
        scales=torch.ones(rows),
    )


def make_bank() -> Bank:
    train, val = make_split(6, 0), make_split(2, 1)
    boxes = [
        (image, box, label)
        for image in range(2)
        for box, label in zip(val.boxes[image].tolist(), val.labels[image].tolist(), strict=True)
    ]
    truth = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in range(2)
        ],
        "annotations": [
            {
                "id": number + 1,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            for number, (image, (x0, y0, x1, y1), label) in enumerate(boxes)
        ],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
    }
    return Bank(
        path=Path("nowhere"),
        key="fake",
        levels=LEVELS,
        channels=dict.fromkeys(LEVELS, 8),
        image_size=SIZE,
        categories=tuple(Category(c + 1, str(c)) for c in range(CLASSES)),
        train=train,
        val=val,
        test=val,
        truth={"val": truth, "test": truth},
    )


def build(name: str) -> Neck:
    """A shipped neck, narrow."""
    text = re.sub(r"width \d+", "width 16", find_neck(name).read_text(encoding="utf-8"))
    architecture = parse(text)
    return Neck(architecture, (8,) * len(lower(architecture).inputs), seed=0)


class Again:
    """Captures nothing: a replay goes through the step again, on what the step now reads."""

    def __init__(self) -> None:
        self.eager_steps = self.replays = self.captures = 0

    def eager(self, run: Run) -> Tensor:
        self.eager_steps += 1
        return run()

    def record(self, run: Run) -> Run:
        self.captures += 1

        def replay() -> Tensor:
            self.replays += 1
            return run()

        return replay


def reports(
    bank: Bank,
    neck: Neck,
    recorder: Recorder | None,
    settings: ProxySettings = SETTINGS,
    checkpoint: Checkpoint | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> list[Report]:
    training = prepare_training(neck, bank, settings, seed=3)
    found = optimise(
        training.detector,
        proxy_schedule(settings, (4,)),
        loss=training.loss,
        evaluate=evaluate or training.evaluate,
        halve=training.halve,
        checkpoint=checkpoint,
        recorder=recorder,
    )
    return [replace(report, seconds=0.0) for report in found]


def parted(found: list[Report]) -> tuple[list[Report], list[float]]:
    """Reports without the part of their steps that was replayed, and that part."""
    parts = [report.scores["replayed"] for report in found]
    rest = [{k: v for k, v in report.scores.items() if k != "replayed"} for report in found]
    return [replace(r, scores=scores) for r, scores in zip(found, rest, strict=True)], parts
