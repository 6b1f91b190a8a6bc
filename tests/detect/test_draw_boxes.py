"""Boxes on a picture: where they are, in the colour of their class, the picture left as it was."""

from itertools import pairwise

import pytest
import torch
from PIL import Image

from nas_fpn.detect.draw_boxes import class_colour, draw_boxes

CLASSES = ("fish", "shark")


def drawn(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Image.Image:
    plain = Image.new("RGB", (200, 100))
    after = draw_boxes(
        plain,
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(scores),
        torch.tensor(labels, dtype=torch.int64),
        classes=CLASSES,
    )
    assert plain.getcolors() == [(20000, (0, 0, 0))], "the picture is copied"
    return after


def test_a_box_has_the_colour_of_its_class_on_its_border() -> None:
    picture = drawn([[20, 40, 120, 90]], [0.87], [1])
    for place in ((20, 60), (120, 60), (70, 40), (70, 90)):
        assert picture.getpixel(place) == class_colour(1)
    assert picture.getpixel((70, 65)) == (0, 0, 0)


def test_the_best_box_lies_on_top() -> None:
    picture = drawn([[20, 40, 120, 90], [20, 40, 120, 90]], [0.9, 0.2], [0, 1])
    assert picture.getpixel((70, 90)) == class_colour(0)


@pytest.mark.parametrize("box", [[-5, -5, 300, 200], [198, 98, 200, 100], [10, 10, 10, 10]])
def test_boxes_at_the_border_are_drawn_too(box: list[float]) -> None:
    assert len(drawn([box], [1.0], [0]).getcolors() or ()) > 1


def test_nothing_found_is_the_picture_itself() -> None:
    assert drawn([], [], []).getcolors() == [(20000, (0, 0, 0))]


def test_classes_next_to_each_other_differ_in_colour() -> None:
    colours = [class_colour(label) for label in range(12)]
    for one, other in pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 100
