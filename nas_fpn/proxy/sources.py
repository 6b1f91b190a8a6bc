"""What a bank is made of: the images of a split, in their views, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass

from nas_fpn.detect.dataset import Dataset
from nas_fpn.detect.images import open_image
from nas_fpn.proxy.views import Seen, View, see

__all__ = ["Batch", "Source", "batches"]

BATCH = 8  # images through the backbone at once: its early features are large


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The images of one split, and the views that they are stored in."""

    data: Dataset
    views: tuple[View, ...]
    image_size: int

    @property
    def rows(self) -> int:
        """How many rows of features it takes."""
        return len(self.data.images) * len(self.views)

    @property
    def most_boxes(self) -> int:
        """The boxes of its fullest image, 1 at least."""
        return max(1, *(int((~crowd).sum()) for crowd in self.data.crowd))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images in one view: their rows in the split, places and ids, and what is seen."""

    rows: slice
    numbers: range
    image_ids: tuple[int, ...]
    seen: tuple[Seen, ...]


def batches(source: Source) -> Iterator[Batch]:
    """All rows of a split; an image is decoded once for all its views."""
    data, count = source.data, len(source.data.images)
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        seen = [_look(source, number) for number in numbers]
        ids = tuple(data.images[number].id for number in numbers)
        for view in range(len(source.views)):
            first = view * count + start
            in_view = tuple(views[view] for views in seen)
            yield Batch(slice(first, first + len(ids)), numbers, ids, in_view)


def _look(source: Source, number: int) -> list[Seen]:
    data, single = source.data, ~source.data.crowd[number]
    picture = open_image(data.images[number].path)
    boxes, labels = data.boxes[number][single], data.labels[number][single]
    size = source.image_size
    return [
        see(picture, boxes, labels, view=view, image_size=size, number=number)
        for view in source.views
    ]
