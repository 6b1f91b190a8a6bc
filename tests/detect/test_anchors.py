"""Anchors: torchvision's own at its image size and levels, and in proportion elsewhere."""

import itertools
import math

import pytest
import torch
from torchvision.models.detection import retinanet
from torchvision.models.detection.faster_rcnn import _default_anchorgen

from nas_fpn.detect.anchors import anchor_sides, anchors, default_boxes, image_scale, points
from nas_fpn.detect.targets import size_ranges


def test_at_800_pixels_and_five_levels_the_anchors_are_torchvisions() -> None:
    ours = anchors((3, 4, 5, 6, 7), 800, per_level=3)
    theirs = retinanet._default_anchorgen()
    assert (ours.sizes, ours.aspect_ratios) == (theirs.sizes, theirs.aspect_ratios)
    ours, theirs = anchors((2, 3, 4, 5, 6), 800, per_level=1), _default_anchorgen()
    assert (ours.sizes, ours.aspect_ratios) == (theirs.sizes, theirs.aspect_ratios)


def test_at_800_pixels_the_points_of_fcos_are_torchvisions() -> None:
    generator, radius = points((3, 4, 5, 6, 7), 800)
    assert generator.sizes == ((8,), (16,), (32,), (64,), (128,))
    assert radius == 1.5


@pytest.mark.parametrize("num_levels", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("per_level", [1, 3])
@pytest.mark.parametrize("image_size", [64, 128, 320, 800])
def test_a_pyramid_of_any_height_has_the_same_ladder(
    num_levels: int, per_level: int, image_size: int
) -> None:
    sides = anchor_sides(num_levels, image_size, per_level=per_level)
    assert len(sides) == num_levels
    assert len(set(map(len, sides))) == 1, "the levels share one head"
    ladder = list(itertools.chain(*sides))
    scale = image_scale(image_size)
    assert ladder[0] == int(32 * scale + 1e-6)
    assert 512 * scale - 1 <= ladder[-1] <= 1024 * scale
    for small, large in itertools.pairwise(ladder):
        assert small < large <= 2 * (small + 1)


def test_sides_go_with_the_smallest_that_is_asked_for() -> None:
    assert anchor_sides(5, 320, per_level=1, smallest=20)[::4] == ((20,), (320,))


@pytest.mark.parametrize("image_size", [64, 128, 256, 320, 512, 800, 1024])
@pytest.mark.parametrize("levels", [(2, 3, 4, 5), (3, 4, 5), (3, 4, 5, 6, 7), (5,)])
def test_ranges_of_fcos_leave_no_gap_and_go_with_those_of_the_proxy(
    levels: tuple[int, ...], image_size: int
) -> None:
    generator, radius = points(levels, image_size)
    sides = [side for (side,) in generator.sizes]
    assert all(large == 2 * small for small, large in itertools.pairwise(sides))
    cells = [cell[0].tolist() for cell in generator.cell_anchors]
    assert cells == [[-s / 2, -s / 2, s / 2, s / 2] for s in sides], "torchvision rounds nothing"
    assert radius * sides[0] == pytest.approx(1.5 * 2 ** levels[0])
    ends = [end for _, end in size_ranges(levels, image_size)]
    assert ends == [*(8 * side for side in sides[:-1]), math.inf]
    larger, _ = points(levels, image_size, smallest=9.5)
    assert larger.sizes[0] == (10,)
    assert size_ranges(levels, image_size, anchor_size=9.5)[:-1] == tuple(
        (4 * side if place else 0, 8 * side) for place, (side,) in enumerate(larger.sizes[:-1])
    )


@pytest.mark.parametrize("num_levels", [1, 3, 6])
def test_default_boxes_of_ssd_lie_at_the_cells(num_levels: int) -> None:
    generator = default_boxes(num_levels, 128)
    assert generator.num_anchors_per_location() == [6] * num_levels
    widths = torch.cat([pair[:2] for pair in generator._wh_pairs])[:, 0] * 128
    assert widths[0] == pytest.approx(10)
    assert (widths.diff() > 0).all()
