"""A detector in torchvision's convention that trains in no time, and data for it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from nas_fpn.detect.dataset import Category, Dataset, Image

RED = (230, 20, 20)


class Toy(nn.Module):
    """It learns how much of a picture boxes cover, with dropout and a batch norm on the way."""

    def __init__(self, *, offset: int = 0) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.offset = offset
        self.seen: list[tuple[Tensor, list[Tensor]]] = []
        generator = torch.Generator().manual_seed(0)
        for name, parameter in self.named_parameters():
            if "backbone.1" not in name:
                nn.init.normal_(parameter, std=0.1, generator=generator)
        nn.init.ones_(self.head.bias)

    def forward(
        self, images: list[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        batch = torch.stack(images)
        pooled = self.backbone(batch).mean((2, 3))
        guess = self.head(nn.functional.dropout(pooled, 0.5, self.training))
        if targets is None:
            box = torch.tensor([[2.0, 4.0, 20.0, 36.0]])
            label = torch.tensor([self.offset])
            return [{"boxes": box, "scores": g[:1].sigmoid(), "labels": label} for g in guess]
        self.seen.append((batch, [target["labels"] for target in targets]))
        covered = [(t["boxes"][:, 2:] - t["boxes"][:, :2]).prod(1).sum() for t in targets]
        aim = torch.stack(covered) / batch[0, 0].numel()
        return {"cover": (guess[:, 0] - aim).square().mean(), "rest": guess[:, 1].square().mean()}


def dataset(folder: Path, boxes: Sequence[Sequence[tuple[int, int, int, int]]]) -> Dataset:
    """Grey pictures of 60 x 40 pixels in which each box of a picture is filled with red."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number, own in enumerate(boxes):
        pixels = np.full((40, 60, 3), 90, np.uint8)
        for x0, y0, x1, y1 in own:
            pixels[y0:y1, x0:x1] = RED
        path = folder / f"{number}.png"
        PILImage.fromarray(pixels).save(path)
        images.append(Image(number + 1, path, 60, 40))
    arrays = tuple(np.array(own, np.float32).reshape(-1, 4) for own in boxes)
    return Dataset(
        tuple(images),
        (Category(7, "red"), Category(9, "blue")),
        arrays,
        tuple(np.zeros(len(a), np.int64) for a in arrays),
        tuple(np.zeros(len(a), bool) for a in arrays),
        tuple((a[:, 2:] - a[:, :2]).prod(1) for a in arrays),
    )


BOXES = (
    [(10, 10, 30, 30)],
    [],
    [(2, 2, 14, 20), (30, 5, 55, 35)],
    [(40, 8, 58, 22)],
    [(5, 12, 25, 38)],
)
