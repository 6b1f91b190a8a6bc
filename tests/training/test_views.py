"""Views of the training: from seed and position alone, with boxes around what they showed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from nas_fpn.detect.dataset import Category, Dataset, Image
from nas_fpn.training import TrainingSettings, Views, batches, draw_images
from tests.training.toys import BOXES, dataset

SETTINGS = TrainingSettings(image_size=64, batch_size=4)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path, BOXES)


def test_each_image_comes_once_before_any_comes_again() -> None:
    order = draw_images(5, 13, seed=3).tolist()
    assert len(order) == 13
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert order != draw_images(5, 13, seed=4).tolist()


def test_a_view_follows_from_seed_and_position_alone(data: Dataset) -> None:
    one, two = (Views(data, SETTINGS, seed=1, length=20) for _ in range(2))
    backwards = {place: two[place] for place in reversed(range(20))}
    torch.manual_seed(99)
    for place in range(20):
        for a, b in zip(one[place], backwards[place], strict=True):
            assert torch.equal(a, b)
    other = Views(data, SETTINGS, seed=2, length=20)
    assert any(not torch.equal(one[i][0], other[i][0]) for i in range(20))


def test_the_global_generator_is_left_alone(data: Dataset) -> None:
    views = Views(data, SETTINGS, seed=1, length=4)
    before = torch.get_rng_state()
    list(batches(views, batch_size=2, first=0, loaders=0))
    assert torch.equal(before, torch.get_rng_state())


def test_boxes_lie_around_what_they_were_drawn_around(data: Dataset) -> None:
    views = Views(data, SETTINGS.model_copy(update={"colour": 0.0}), seed=0, length=60)
    seen = 0
    for place in range(60):
        pixels, boxes, labels, proposals = views[place]
        assert proposals.shape == (0, 4)
        assert pixels.shape == (3, 64, 64) and pixels.dtype == torch.uint8
        assert len(boxes) == len(labels)
        red = (pixels[0].int() - pixels[1].int()) > 100
        covered = torch.zeros(64, 64, dtype=torch.bool)
        for x0, y0, x1, y1 in boxes.round().int().tolist():
            covered[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
            inside = red[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
            assert inside.float().mean() > 0.9 or inside.numel() < 20
            seen += 1
        assert not (red & ~covered).sum() > 64 * 3, "only slivers are without a box"
    assert seen > 40


def test_an_image_without_boxes_is_an_example_too(data: Dataset) -> None:
    empty = replace(data, boxes=tuple(b[:0] for b in data.boxes), labels=(np.zeros(0, int),) * 5)
    empty = replace(empty, crowd=(np.zeros(0, bool),) * 5)
    for place in range(10):
        pixels, boxes, labels, _ = Views(empty, SETTINGS, seed=0, length=10)[place]
        assert pixels.shape == (3, 64, 64)
        assert boxes.shape == (0, 4) and boxes.dtype == torch.float32
        assert labels.shape == (0,) and labels.dtype == torch.int64


def test_proposals_go_where_the_boxes_go(data: Dataset) -> None:
    proposed = replace(data, proposals=tuple(np.flip(boxes, 0) for boxes in data.boxes))
    plain, views = (Views(one, SETTINGS, seed=3, length=20) for one in (data, proposed))
    for place in range(20):
        pixels, boxes, labels, proposals = views[place]
        assert torch.equal(proposals, boxes.flip(0)) and len(labels) == len(boxes)
        assert torch.equal(plain[place][0], pixels), "and change nothing else"
        assert torch.equal(plain[place][1], boxes)


def test_a_crowd_is_no_example(data: Dataset) -> None:
    crowds = replace(data, crowd=tuple(np.ones(len(b), bool) for b in data.boxes))
    views = Views(crowds, SETTINGS, seed=0, length=10)
    assert all(len(views[place][1]) == 0 for place in range(10))


def test_images_are_kept_no_larger_than_the_zoom_needs(data: Dataset) -> None:
    small = TrainingSettings(image_size=64, zoom=(0.25, 0.5), flip=0.0, colour=0.0)
    pixels, *_ = Views(data, small, seed=0, length=1)[0]
    assert pixels.shape == (3, 64, 64)


def test_batches_begin_where_they_are_asked_to(data: Dataset) -> None:
    views = Views(data, SETTINGS, seed=5, length=12)
    whole = list(batches(views, batch_size=3, first=0, loaders=0))
    rest = list(batches(views, batch_size=3, first=2, loaders=0))
    assert len(whole) == 4 and len(rest) == 2
    for (one, *_), (two, *_) in zip(whole[2:], rest, strict=True):
        assert torch.equal(one, two)


@pytest.mark.slow
def test_other_processes_give_the_same_batches(data: Dataset) -> None:
    views = Views(data, SETTINGS, seed=5, length=12)
    here = list(batches(views, batch_size=3, first=0, loaders=0))
    there = list(batches(views, batch_size=3, first=0, loaders=2))
    for (one, boxes, *_), (two, others, *_) in zip(here, there, strict=True):
        assert torch.equal(one, two)
        assert all(torch.equal(a, b) for a, b in zip(boxes, others, strict=True))


def test_a_very_thin_image_keeps_a_row_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "thin.png"
    PILImage.new("RGB", (2000, 3), (230, 20, 20)).save(path)
    box = np.array([[0, 0, 1000, 3]], np.float32)
    one = Dataset(
        (Image(1, path, 2000, 3),),
        (Category(7, "red"),),
        (box,),
        (np.zeros(1, np.int64),),
        (np.zeros(1, bool),),
        (np.array([3000], np.float32),),
    )
    views = Views(one, TrainingSettings(image_size=256), seed=0, length=8)
    for place in range(8):
        pixels, boxes, _, _ = views[place]
        assert pixels.shape == (3, 256, 256)
        assert torch.isfinite(boxes).all()
