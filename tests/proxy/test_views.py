"""Views move boxes with the pixels they surround."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from nas_fpn.detect.images import GREY, letterbox
from nas_fpn.proxy.views import VIEWS, View, see

SIZE = 64


def picture_of(width: int, height: int, box: tuple[int, int, int, int]) -> PILImage.Image:
    """Black, with a white box: the pixels show where the box should be."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = 255
    return PILImage.fromarray(pixels)


def look(picture: PILImage.Image, box: tuple[int, ...], view: View, number: int = 0):
    boxes, labels = np.array([box], np.float32), np.array([3], np.int64)
    return see(picture, boxes, labels, view=view, image_size=SIZE, number=number)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(40, 160), st.integers(40, 160)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    view=st.sampled_from(VIEWS),
    number=st.integers(0, 9),
)
def test_the_box_surrounds_the_same_pixels_in_every_view(size, corner, view, number):
    width, height = size
    x, y = int(corner[0] * (width - 20)), int(corner[1] * (height - 20))
    box = (x, y, x + 20, y + 20)
    seen = look(picture_of(width, height, box), box, view, number)
    bright = (seen.image.float().mean(0) > 160).nonzero()
    if len(seen.boxes) == 0:
        assert view.zoom > 1  # only a cut can hide it
        return
    x1, y1, x2, y2 = seen.boxes[0].tolist()
    top, left = bright.amin(0).tolist()
    bottom, right = (bright.amax(0) + 1).tolist()
    assert [x1, y1, x2, y2] == pytest.approx([left, top, right, bottom], abs=1.6)
    assert seen.labels.tolist() == [3]
    assert seen.image.shape == (3, SIZE, SIZE)


def test_the_plain_view_is_the_letterbox():
    picture = PILImage.effect_noise((90, 50), 60).convert("RGB")
    image, scale = letterbox(picture, SIZE)
    seen = look(picture, (0, 0, 90, 50), VIEWS[0])
    assert torch.equal(seen.image, image)
    assert seen.scale == scale
    assert seen.boxes[0].tolist() == pytest.approx([0, 0, 64, 50 * 64 / 90])


def test_mirroring_twice_is_the_plain_view():
    picture = PILImage.effect_noise((90, 50), 60).convert("RGB")
    mirror = picture.transpose(PILImage.Transpose.FLIP_LEFT_RIGHT)
    plain = look(picture, (10, 5, 30, 20), VIEWS[0])
    twice = look(mirror, (60, 5, 80, 20), VIEWS[1])
    assert torch.equal(plain.image, twice.image)
    assert torch.equal(plain.boxes, twice.boxes)


def test_zooming_out_leaves_grey_and_zooming_in_does_not():
    picture = PILImage.new("RGB", (100, 100))
    out, near = look(picture, (0, 0, 9, 9), VIEWS[3]), look(picture, (0, 0, 9, 9), VIEWS[2])
    assert (out.image == GREY).float().mean() > 0.4
    assert (near.image == GREY).sum() == 0
    assert near.scale > 1.4 * 0.64 > out.scale


def test_boxes_cut_away_are_left_out_and_numbers_move_the_cut():
    picture = PILImage.new("RGB", (64, 64))
    counts = {
        number: len(look(picture, (50, 50, 64, 64), VIEWS[2], number).boxes) for number in (0, 1)
    }
    assert counts == {0: 0, 1: 1}


def test_boxes_of_less_than_a_pixel_are_left_out():
    picture = PILImage.new("RGB", (6400, 6400))
    assert len(look(picture, (0, 0, 90, 90), VIEWS[0]).boxes) == 0
    assert len(look(picture, (0, 0, 110, 110), VIEWS[0]).boxes) == 1
