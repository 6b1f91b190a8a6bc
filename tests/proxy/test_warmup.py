"""Training on images: the backbone learns, mirrored images keep their boxes, crowds are out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from nas_fpn.detect.dataset import Category, Dataset, Image, to_coco
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.proxy.warmup import Images, flip, load_images, train_end_to_end, warm_up

SIZE = 64
LEVELS = (3, 4)


class TinyBackbone(nn.Module):
    """Strided convolutions to strides 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c3 = nn.Sequential(
            nn.Conv2d(3, 16, 7, stride=4, padding=3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.c4 = nn.Sequential(nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        c3 = self.c3(images)
        return {3: c3, 4: self.c4(c3)}


class PassOn(nn.Module):
    """The neck that gives what it reads."""

    inputs = levels = LEVELS
    strides = (8, 16)
    out_channels = (16, 16)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return features


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight images of one white square; the first holds a crowd besides, the last is empty."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(8):
        width, height = (2 * SIZE, 2 * SIZE) if number % 2 else (2 * SIZE, SIZE)
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        x, y = rng.integers(0, width - 44), rng.integers(0, height - 44)
        box = np.array([[x, y, x + 40, y + 40]], np.float32)
        if number < 7:
            pixels[y : y + 40, x : x + 40] = 255
        path = folder / f"{number}.png"
        PILImage.fromarray(pixels).save(path)
        images.append(Image(10 + number, path, width, height))
        boxes.append(box if number < 7 else box[:0])
    boxes[0] = np.concatenate((boxes[0], boxes[0] / 2))
    return Dataset(
        images=tuple(images),
        categories=(Category(1, "square"),),
        boxes=tuple(boxes),
        labels=tuple(np.zeros(len(b), np.int64) for b in boxes),
        crowd=tuple(np.arange(len(b)) > 0 for b in boxes),
        areas=tuple((b[:, 2:] - b[:, :2]).prod(axis=1) for b in boxes),
    )


@pytest.fixture(scope="module")
def images(dataset: Dataset) -> Images:
    return load_images(dataset, SIZE)


def settings(**changes: object) -> ProxySettings:
    given = {"image_size": SIZE, "steps": 4, "batch_size": 4, "evaluations": 2, "head_width": 16}
    return ProxySettings.model_validate({**given, **changes})


def test_boxes_are_in_network_pixels_and_padded(images: Images, dataset: Dataset) -> None:
    assert images.pixels.shape == (8, 3, SIZE, SIZE)
    assert images.scales.tolist() == [0.5] * 8
    np.testing.assert_allclose(images.boxes[3, 0], dataset.boxes[3][0] / 2)
    assert images.image_ids.tolist() == list(range(10, 18))


def test_a_crowd_is_not_trained_on_but_stays_in_the_truth(images: Images) -> None:
    assert images.labels.tolist() == [[0]] * 7 + [[-1]]
    assert sum(row["iscrowd"] for row in images.truth["annotations"]) == 1


def test_a_mirrored_box_still_holds_what_it_held(images: Images) -> None:
    which = torch.tensor([True, False] * 4)
    pixels, boxes = flip(images.pixels, images.boxes, which)
    for before, after, box in zip(images.pixels, pixels, boxes[:, 0], strict=True):
        x0, y0, x1, y1 = box.round().int().tolist()
        assert y1 == 0 or (after[:, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] == 255).all()
        assert before.sum() == after.sum()
    assert torch.equal(pixels[1::2], images.pixels[1::2])
    assert torch.equal(boxes[1::2], images.boxes[1::2])


def test_mirroring_twice_changes_nothing(images: Images) -> None:
    which = torch.ones(8, dtype=torch.bool)
    twice = flip(*flip(images.pixels, images.boxes, which), which)
    assert torch.equal(twice[0], images.pixels)
    torch.testing.assert_close(twice[1], images.boxes)


def test_the_warm_up_trains_the_backbone(images: Images) -> None:
    backbone, before = TinyBackbone(), TinyBackbone().state_dict()
    own = BackboneSettings(warmup_steps=12, warmup_batch_size=4)
    reports = list(warm_up(backbone, PassOn(), images, settings(), own, seed=0))
    assert reports[-1].steps == 12
    assert reports[-1].scores["loss"] < reports[0].scores["loss"]
    after = backbone.state_dict()
    assert not any(torch.equal(before[key], after[key]) for key in before if "tracked" not in key)
    assert all(value.is_contiguous() for value in after.values())


def test_the_same_seed_warms_up_alike(images: Images) -> None:
    own = BackboneSettings(warmup_steps=3, warmup_batch_size=4)
    backbones = [TinyBackbone() for _ in range(2)]
    for backbone in backbones:
        list(warm_up(backbone, PassOn(), images, settings(), own, seed=1))
    one, two = (backbone.state_dict() for backbone in backbones)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_end_to_end_scores_the_held_out_images(images: Images) -> None:
    *_, last = train_end_to_end(
        TinyBackbone(),
        PassOn(),
        images,
        settings(steps=150, learning_rate=5e-3),
        held_out=images,
        seed=0,
    )
    assert last.scores["ap50"] > 0.9
    assert "ap/square" in last.scores


def test_scores_hold_for_images_without_any_detection(images: Images) -> None:
    reports = train_end_to_end(
        TinyBackbone(), PassOn(), images, settings(steps=1), held_out=images, seed=0
    )
    scores = next(reports).scores
    assert all(math.isfinite(value) for value in scores.values())


def test_truth_is_that_of_the_data_set(dataset: Dataset, images: Images) -> None:
    assert images.truth == to_coco(dataset)
    without = replace(dataset, crowd=tuple(np.zeros(len(c), bool) for c in dataset.crowd))
    assert load_images(without, SIZE).labels.shape == (8, 2)
