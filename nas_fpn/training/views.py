"""What a detector trains on: each image flipped, zoomed and cropped anew, from the seed alone.

The view at a position of the training follows from the seed and the position, whatever else
happened before: equal seeds show equal pictures to every neck, and a training that goes on after an
interruption sees what it would have seen.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from nas_fpn.detect.dataset import Dataset
from nas_fpn.detect.images import GREY, open_image
from nas_fpn.training.settings import TrainingSettings

__all__ = ["Example", "Views", "batches", "draw_images", "stream_seed"]

Example = tuple[Tensor, Tensor, Tensor, Tensor]

PROPOSAL = -1  # the label of a box that is no object
LEAST_SIDE = 2.0  # network pixels; a box that shows less is no example of its class
HELD = 2**29  # bytes of decoded images that are kept in memory, if all find room in them


class Views(torch.utils.data.Dataset[Example]):
    """The training as a sequence: entry i is the i-th picture that the network sees.

    A picture is uint8 [3, S, S], its boxes float32 [n, 4] in network pixels, its labels int64
    [n], indices into the categories; n may be 0. Crowds are no examples. Last come the proposals
    of the image, float32 [m, 4] in network pixels; none where the data has none.
    """

    def __init__(
        self, dataset: Dataset, settings: TrainingSettings, *, seed: int, length: int
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._order = draw_images(len(dataset.images), length, seed=seed)
        self._side = round(settings.image_size * max(settings.zoom[1], 1.0))
        self._transforms = _transforms(settings)
        pixels = sum(_reduced(image.width, image.height, self._side) for image in dataset.images)
        self._held: dict[int, Tensor] | None = {} if 3 * pixels <= HELD else None

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> Example:
        place = int(self._order[position])
        image = self._dataset.images[place]
        picture = self._picture(place)
        kept = ~self._dataset.crowd[place]
        scale = picture.shape[2] / image.width, picture.shape[1] / image.height
        boxes = torch.from_numpy(np.array(self._dataset.boxes[place][kept]))
        labels = torch.from_numpy(np.array(self._dataset.labels[place][kept]))
        if self._dataset.proposals is not None:  # they go where the boxes go
            proposals = torch.from_numpy(np.array(self._dataset.proposals[place]))
            boxes = torch.cat([boxes, proposals])
            labels = torch.cat([labels, labels.new_full((len(proposals),), PROPOSAL)])
        seen = {
            "image": tv_tensors.Image(picture),
            "boxes": tv_tensors.BoundingBoxes(
                boxes * torch.tensor([*scale, *scale]),
                format="XYXY",
                canvas_size=tuple(picture.shape[1:]),
            ),
            "labels": labels,
        }
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_seed(self._seed, position))
            seen = self._transforms(seen)
        boxes, labels = seen["boxes"].as_subclass(Tensor), seen["labels"]
        proposed = labels == PROPOSAL
        picture = seen["image"].as_subclass(Tensor)
        return picture, boxes[~proposed], labels[~proposed], boxes[proposed]

    def _picture(self, place: int) -> Tensor:
        """The image, uint8 [3, h, w], no larger than the largest zoom needs it."""
        if self._held is not None and place in self._held:
            return self._held[place]
        picture = open_image(self._dataset.images[place].path)
        shrink = self._side / max(picture.size)
        if shrink < 1:
            width, height = (max(round(side * shrink), 1) for side in picture.size)
            picture = picture.resize((width, height), PILImage.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        if self._held is not None:
            self._held[place] = pixels
        return pixels


def batches(
    views: Views, *, batch_size: int, first: int, loaders: int
) -> Iterator[tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]]:
    """Pictures uint8 [B, 3, S, S], boxes, labels and proposals of each step from ``first`` on."""
    positions = range(first * batch_size, len(views))
    loader = DataLoader(
        views,
        batch_size=batch_size,
        sampler=positions,
        num_workers=loaders,
        collate_fn=_collate,
        generator=torch.Generator(),  # the loader draws from one, even where nothing is random
    )
    yield from loader


def draw_images(images: int, length: int, *, seed: int) -> Tensor:
    """Which image stands at each position, int64 [length]: all in random order, then all again."""
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-length // images)
    order = [torch.randperm(images, generator=generator) for _ in range(rounds)]
    return torch.cat(order)[:length]


def stream_seed(*parts: int) -> int:
    """A seed of its own for each tuple of numbers.

    >>> stream_seed(0, 1) == stream_seed(0, 1), stream_seed(0, 1) == stream_seed(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _transforms(settings: TrainingSettings) -> v2.Compose:
    side = settings.image_size
    steps: list[torch.nn.Module] = [
        v2.RandomHorizontalFlip(settings.flip),
        _ScaleJitter((side, side), scale_range=settings.zoom, antialias=True),
        v2.RandomCrop((side, side), pad_if_needed=True, fill=GREY),
        v2.SanitizeBoundingBoxes(min_size=LEAST_SIDE),
    ]
    if settings.colour:
        steps.append(v2.ColorJitter(*[settings.colour] * 3))
    return v2.Compose(steps)


class _ScaleJitter(v2.ScaleJitter):  # type: ignore[misc]
    """torchvision's, but a side of a very thin image keeps a pixel."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The size (height, width) in pixels that an image is brought to."""
        given: dict[str, Any] = super().make_params(flat_inputs)
        return given | {"size": tuple(max(side, 1) for side in given["size"])}


def _reduced(width: int, height: int, side: int) -> int:
    """Pixels of an image that is kept no larger than ``side``."""
    shrink = min(side / max(width, height), 1.0)
    return round(width * shrink) * round(height * shrink)


def _collate(
    examples: Sequence[Example],
) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    pictures, boxes, labels, proposals = zip(*examples, strict=True)
    return torch.stack(pictures), list(boxes), list(labels), list(proposals)
