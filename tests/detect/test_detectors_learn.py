"""Each kind of detector, end to end on a few embedded scenes for a few steps: the loss falls."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas_fpn.detect import DetectorSettings, draw_scene, label_offset

KINDS: dict[str, dict[str, Any]] = {
    "fcos": {"head_depth": 1},
    "retinanet": {"head_depth": 1},
    "ssd": {},
    "faster_rcnn": {},
    "fast_rcnn": {},
}


def make_scenes(kind: str, count: int = 4) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images, targets = [], []
    offset = label_offset(DetectorSettings(kind=kind))  # type: ignore[arg-type]
    for number in range(count):
        scene = draw_scene(np.random.default_rng((1, number)), 64)
        images.append(torch.from_numpy(scene.image).permute(2, 0, 1).float() / 255)
        boxes, labels = torch.from_numpy(scene.boxes), torch.from_numpy(scene.labels) + offset
        target = {"boxes": boxes, "labels": labels}
        if kind == "fast_rcnn":
            jitter = torch.randn(8, 1, 4, generator=torch.Generator().manual_seed(number)) * 4
            target["proposals"] = (boxes + jitter).reshape(-1, 4)
        targets.append(target)
    return images, targets


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_on_a_handful_of_scenes(make: Callable[..., Any], kind: str) -> None:
    model = make(kind=kind, **KINDS[kind])
    images, targets = make_scenes(kind)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torchvision's samplers draw from the global generator
        for _ in range(15):
            loss = sum(model(images, targets).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0]
