"""The proxy: a generator of reports, equal from run to run, fair between necks."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_fpn.detect.dataset import Category
from nas_fpn.errors import RunError
from nas_fpn.proxy.bank import Bank, Split
from nas_fpn.proxy.checkpoint import Checkpoint
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import make_detector, pick_device, prepare_training, train
from nas_fpn.record import Report

SIZE = 128
LEVELS = (3, 4)
CLASSES = 2
CHANNELS = CLASSES + 4


class Laterals(nn.Module):
    """A neck of one convolution per level."""

    def __init__(self, width: int = 16, *, seed: int = 0, levels: tuple[int, ...] = LEVELS) -> None:
        super().__init__()
        self.inputs = self.levels = levels
        self.strides = tuple(2**level for level in levels)
        self.out_channels = (width,) * len(levels)
        generator = torch.Generator().manual_seed(seed)
        self.laterals = nn.ModuleList(nn.Conv2d(CHANNELS, width, 3, padding=1) for _ in levels)
        for lateral in self.laterals:
            nn.init.kaiming_uniform_(lateral.weight, a=1, generator=generator)
            nn.init.zeros_(lateral.bias)
        self.seen: list[Tensor] = []

    def forward(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        if self.training:
            self.seen.append(features[0].detach().clone())
        return tuple(lateral(f) for lateral, f in zip(self.laterals, features, strict=True))


def scene(seed: int) -> tuple[Tensor, Tensor]:
    """One to three boxes [3, 4] apart from each other, of 9 px or 17 to 50 px, and labels [3].

    So each has a point of the level that learns it.
    """
    g = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 4, (), generator=g))
    corner = torch.tensor([[0, 0], [64, 0], [0, 64]]) + torch.randint(1, 12, (3, 2), generator=g)
    size = torch.randint(17, 51, (3, 2), generator=g)
    size = torch.where(torch.rand(3, 1, generator=g) < 0.5, torch.tensor(9), size)
    labels = torch.randint(CLASSES, (3,), generator=g)
    there = torch.arange(3) < count
    boxes = torch.cat((corner, corner + size), dim=1).float()
    return boxes * there[:, None], labels.masked_fill(~there, -1)


def features_of(boxes: Tensor, labels: Tensor, level: int) -> Tensor:
    """Per class where its boxes are, and the four distances to the box's sides, [C, H, W]."""
    stride, side = 2**level, SIZE // 2**level
    centre = (torch.arange(side) + 0.5) * stride
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    feature = torch.zeros(CHANNELS, side, side)
    for (x0, y0, x1, y1), label in zip(boxes, labels.tolist(), strict=True):
        if label >= 0:
            distances = torch.stack((x - x0, y - y0, x1 - x, y1 - y))
            inside = (distances.amin(dim=0) > 0).float()
            feature[label] += inside
            feature[CLASSES:] += distances / stride * inside
    return feature


def make_split(first: int, images: int, *, views: int = 1) -> Split:
    scenes = [scene(first + i) for i in range(images)] * views
    return Split(
        features={
            level: torch.stack([features_of(*one, level) for one in scenes]) for level in LEVELS
        },
        boxes=torch.stack([boxes for boxes, _ in scenes]),
        labels=torch.stack([labels for _, labels in scenes]),
        image_ids=(torch.arange(images) + first).repeat(views),
        scales=torch.full((images * views,), 0.5),
    )


def truth_of(split: Split) -> dict[str, object]:
    annotations = []
    for image_id, boxes, labels in zip(
        split.image_ids.tolist(), split.boxes, split.labels.tolist(), strict=True
    ):
        for box, label in zip((boxes * 2).tolist(), labels, strict=True):
            if label >= 0:
                x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                    }
                )
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 2 * SIZE, "height": 2 * SIZE}
            for i in split.image_ids.tolist()
        ],
        "annotations": annotations,
        "categories": [{"id": c + 1, "name": f"class {c}"} for c in range(CLASSES)],
    }


@pytest.fixture(scope="module")
def bank() -> Bank:
    val, test = make_split(1000, 6), make_split(2000, 6)
    return Bank(
        path=Path("nowhere"),
        key="fake",
        levels=LEVELS,
        channels=dict.fromkeys(LEVELS, CHANNELS),
        image_size=SIZE,
        categories=tuple(Category(c + 1, f"class {c}") for c in range(CLASSES)),
        train=make_split(0, 24, views=2),
        val=val,
        test=test,
        truth={"val": truth_of(val), "test": truth_of(test)},
    )


def settings(**changes: object) -> ProxySettings:
    given = {
        "image_size": SIZE,
        "steps": 6,
        "batch_size": 4,
        "evaluations": 2,
        "head_width": 16,
    }
    return ProxySettings.model_validate({**given, **changes})


def without_seconds(reports: list[Report]) -> list[Report]:
    return [replace(report, seconds=0.0) for report in reports]


def test_reports_are_spread_evenly_and_end_at_the_last_step(bank: Bank) -> None:
    reports = list(train(Laterals(), bank, settings(steps=7, evaluations=3), seed=0))
    assert [report.steps for report in reports] == [2, 5, 7]
    assert all(0 < report.seconds < 60 for report in reports)
    assert [r.seconds for r in reports] == sorted(r.seconds for r in reports)


def test_more_evaluations_than_steps_give_one_a_step(bank: Bank) -> None:
    reports = list(train(Laterals(), bank, settings(steps=2, evaluations=9), seed=0))
    assert [report.steps for report in reports] == [1, 2]


def test_scores_name_what_has_ground_truth(bank: Bank) -> None:
    (*_, last) = train(Laterals(), bank, settings(), seed=0)
    assert set(last.scores) == {
        *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap/class 0", "ap/class 1", "loss")
    }
    assert all(math.isfinite(value) for value in last.scores.values())


def test_the_same_seed_gives_the_same_reports_bit_for_bit(bank: Bank) -> None:
    torch.manual_seed(1)
    one = without_seconds(list(train(Laterals(), bank, settings(), seed=3)))
    torch.manual_seed(2)
    two = without_seconds(list(train(Laterals(), bank, settings(), seed=3)))
    other = without_seconds(list(train(Laterals(), bank, settings(), seed=4)))
    assert one == two
    assert one[0].scores["loss"] != other[0].scores["loss"]


def test_reading_fewer_reports_does_not_change_them(bank: Bank) -> None:
    """Stopping early is free: what was reported until then is the same."""
    long = train(Laterals(), bank, settings(), seed=3)
    first = replace(next(long), seconds=0.0)
    long.close()
    assert without_seconds(list(train(Laterals(), bank, settings(), seed=3)))[0] == first


def test_data_order_does_not_depend_on_the_neck(bank: Bank) -> None:
    narrow, wide = Laterals(8, seed=1), Laterals(32, seed=2)
    for neck in (narrow, wide):
        list(train(neck, bank, settings(), seed=5))
    assert len(narrow.seen) == 6
    assert all(torch.equal(a, b) for a, b in zip(narrow.seen, wide.seen, strict=True))


def test_the_head_starts_alike_for_necks_of_one_width() -> None:
    one, two = (
        make_detector(Laterals(16, seed=s), settings(), num_classes=2, seed=7).head.state_dict()
        for s in (1, 2)
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_neck_is_trained_in_place_and_the_bank_is_not_touched(bank: Bank) -> None:
    neck, before = Laterals(), Laterals().state_dict()
    features = bank.train.features[3].clone()
    list(train(neck, bank, settings(), seed=0))
    after = neck.state_dict()
    assert not any(torch.equal(before[key], after[key]) for key in before)
    assert all(value.is_contiguous() for value in after.values())
    assert torch.equal(bank.train.features[3], features)


def test_bfloat16_features_are_trained_in_float32(bank: Bank) -> None:
    half = replace(
        bank,
        train=replace(
            bank.train, features={k: f.bfloat16() for k, f in bank.train.features.items()}
        ),
    )
    neck = Laterals()
    list(train(neck, half, settings(), seed=0))
    assert neck.seen[0].dtype == torch.float32


def test_test_split_is_scored_on_request(bank: Bank) -> None:
    val = list(train(Laterals(), bank, settings(steps=40), seed=0, split="val"))[-1].scores
    test = list(train(Laterals(), bank, settings(steps=40), seed=0, split="test"))[-1].scores
    assert val["loss"] == test["loss"]
    assert val["ap"] != test["ap"]


def test_divergence_is_an_error_that_names_the_step(bank: Bank) -> None:
    class Diverging(Laterals):
        def forward(self, features: list[Tensor]) -> tuple[Tensor, ...]:
            outputs = super().forward(features)
            return tuple(o * (math.nan if len(self.seen) > 4 else 1.0) for o in outputs)

    reports = train(Diverging(), bank, settings(), seed=0)
    assert next(reports).steps == 3
    with pytest.raises(FloatingPointError, match="not finite from step 5 of 6 on; try a learning"):
        next(reports)


def test_a_level_that_the_bank_lacks_is_refused(bank: Bank) -> None:
    with pytest.raises(ValueError, match=r"reads levels \(3, 4, 5\), but the bank has \(3, 4\)"):
        next(train(Laterals(levels=(3, 4, 5)), bank, settings(), seed=0))


def test_the_default_device_is_the_cpu() -> None:
    assert pick_device(settings().device) == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_small_neck_learns_eight_images_by_heart(bank: Bank) -> None:
    few = make_split(0, 8)
    known = replace(bank, train=few, val=few, truth={**bank.truth, "val": truth_of(few)})
    given = settings(
        steps=200, batch_size=8, anchor_size=2
    )  # the second level: boxes from 16 px on
    *_, last = train(Laterals(), known, given, seed=0)
    assert last.scores["ap50"] > 0.95
    assert last.scores["ap"] > 0.8


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_said() -> None:
    with pytest.raises(RunError, match='device = "cuda": torch finds no CUDA device here'):
        pick_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_scores_too(bank: Bank) -> None:
    *_, last = train(Laterals(), bank, settings(device="cuda"), seed=0)
    assert math.isfinite(last.scores["loss"])


def test_a_training_that_was_put_aside_at_its_rungs_reports_the_same(
    bank: Bank, tmp_path: Path
) -> None:
    whole = without_seconds(list(train(Laterals(), bank, settings(), seed=3, rungs=(2, 5))))
    assert [report.steps for report in whole] == [2, 3, 5, 6]
    parts: list[Report] = []
    for begin, pause in ((0, 2), (2, 5), (5, None)):
        checkpoint = Checkpoint(tmp_path, 0, "this one", begin, pause)
        parts += train(Laterals(), bank, settings(), seed=3, rungs=(2, 5), checkpoint=checkpoint)
    assert without_seconds(parts) == whole


def test_bfloat16_is_close_to_float32_and_weights_stay_in_it(bank: Bank) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        neck = Laterals()
        found.append(list(train(neck, bank, settings(precision=precision), seed=3)))
        assert all(p.dtype == torch.float32 for p in neck.parameters())
    one, two = (reports[-1].scores["loss"] for reports in found)
    assert one != two == pytest.approx(one, rel=0.05)


class Shrinking(Laterals):
    """A neck that halves its coarsest feature beyond one cell, and adds what is left to all."""

    def __init__(self) -> None:
        super().__init__(64)
        self.halves = nn.ModuleList(nn.Conv2d(64, 64, 3, 2, padding=1) for _ in range(4))
        for half in self.halves:
            nn.init.constant_(half.weight, 1e-3)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        outputs = super().forward(features)
        coarse = outputs[-1]
        for half in self.halves:
            coarse = half(coarse)  # of 8 cells a side to 4, 2, 1, 1
        return tuple(output + coarse for output in outputs)


def test_a_feature_of_one_cell_is_halved_in_bfloat16_with_gradients_that_are_written(
    bank: Bank,
) -> None:
    training = prepare_training(
        neck := Shrinking(), bank, settings(precision="bfloat16"), seed=3, split="val"
    )
    rows = [torch.full((64 * 64 * 9,), math.nan) for _ in range(4)]
    with pytest.warns(RuntimeWarning, match="computes in float32"):
        losses = list(training.loss(0))
    del rows  # for who takes what lies there for a gradient
    sum(losses).backward()  # type: ignore[union-attr]
    gradient = neck.halves[-1].weight.grad
    middle = gradient[:, :, 1, 1]
    assert middle.abs().sum() > 0
    gradient[:, :, 1, 1] = 0  # the only tap that meets the one cell
    assert torch.equal(gradient, torch.zeros_like(gradient))


class Hungry(Laterals):
    """A neck for which more than so many images at once are too many, in training."""

    most = 2

    def forward(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        if self.training and len(features[0]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(features)


@pytest.mark.parametrize("head", ["fcos", "retinanet"])
def test_a_batch_without_room_is_taken_in_halves_with_the_same_gradient(
    bank: Bank, head: str
) -> None:
    whole = list(train(Laterals(), bank, settings(steps=2, head=head), seed=3))
    hungry = Hungry()
    halves = list(train(hungry, bank, settings(steps=2, head=head), seed=3))
    assert [len(seen) for seen in hungry.seen] == [2, 2, 2, 2]
    for one, other in zip(whole, halves, strict=True):
        assert other.scores["loss"] == pytest.approx(one.scores["loss"], rel=1e-4)


def test_one_image_without_room_fails_the_trial(bank: Bank) -> None:
    hungry = Hungry()
    hungry.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        list(train(hungry, bank, settings(), seed=3))
