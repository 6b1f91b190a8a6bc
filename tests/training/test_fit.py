"""Training end to end: the same numbers from the same seed, interrupted or not."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas_fpn.detect.dataset import Dataset
from nas_fpn.errors import RunError
from nas_fpn.record import Report
from nas_fpn.training import (
    Checkpoint,
    TrainingSettings,
    fit_detector,
    rate_at,
    report_steps,
)
from tests.training.toys import BOXES, Toy, dataset

SETTINGS = TrainingSettings(
    image_size=64, steps=12, batch_size=2, evaluations=2, checkpoint_steps=4, freeze_level=0
)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "data", BOXES)


def scores(reports: Iterator[Report]) -> dict[int, dict[str, float]]:
    return {report.steps: dict(report.scores) for report in reports}


def test_the_same_seed_gives_the_same_numbers(data: Dataset) -> None:
    found = [scores(fit_detector(Toy(), data, SETTINGS, seed=1, val=data)) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] != scores(fit_detector(Toy(), data, SETTINGS, seed=2, val=data))


def test_every_detector_of_a_seed_sees_the_same_batches(data: Dataset) -> None:
    one, two = Toy(), Toy()
    with torch.no_grad():
        two.head.weight.add_(1)
    for model in (one, two):
        list(fit_detector(model, data, SETTINGS, seed=1))
    for (pixels, _), (others, _) in zip(one.seen, two.seen, strict=True):
        assert torch.equal(pixels, others)


def test_losses_are_reported_by_name_and_scores_at_evaluations(data: Dataset) -> None:
    found = scores(fit_detector(Toy(), data, SETTINGS, seed=1, val=data))
    assert list(found) == [4, 6, 8, 12]
    for steps, row in found.items():
        assert row["loss"] == pytest.approx(row["loss/cover"] + row["loss/rest"])
        assert ("ap" in row) == (steps in {6, 12})


@pytest.mark.parametrize("end", [1, 2, 3, 4])
def test_a_killed_training_goes_on_with_the_same_numbers(
    data: Dataset, tmp_path: Path, end: int
) -> None:
    whole_model = Toy()
    whole = scores(fit_detector(whole_model, data, SETTINGS, seed=1, val=data))
    checkpoint = Checkpoint(tmp_path / "c.safetensors", "this one")
    killed = fit_detector(Toy(), data, SETTINGS, seed=1, val=data, checkpoint=checkpoint)
    first = [next(killed) for _ in range(end)]
    killed.close()
    model = Toy()
    rest = scores(fit_detector(model, data, SETTINGS, seed=1, val=data, checkpoint=checkpoint))
    assert scores(iter(first)) | rest == whole
    for name, value in whole_model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_the_checkpoint_of_another_training_is_not_taken(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    list(fit_detector(Toy(), data, SETTINGS, seed=1, checkpoint=Checkpoint(path, "one")))
    again = scores(fit_detector(Toy(), data, SETTINGS, seed=1, checkpoint=Checkpoint(path, "two")))
    assert list(again) == [4, 6, 8, 12]


def test_a_checkpoint_that_was_cut_short_is_not_taken(data: Dataset, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c.safetensors", "one")
    list(fit_detector(Toy(), data, SETTINGS, seed=1, checkpoint=checkpoint))
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:100])
    assert 4 in scores(fit_detector(Toy(), data, SETTINGS, seed=1, checkpoint=checkpoint))


def test_the_model_ends_with_the_averaged_weights(data: Dataset) -> None:
    averaged, last = Toy(), Toy()
    list(fit_detector(averaged, data, SETTINGS, seed=1))
    list(fit_detector(last, data, SETTINGS.model_copy(update={"ema": 0.0}), seed=1))
    assert not averaged.training
    assert not torch.equal(averaged.head.weight, last.head.weight)


def test_training_that_diverges_says_where(data: Dataset) -> None:
    model = Toy()
    with torch.no_grad():
        model.head.bias.fill_(math.inf)
    with pytest.raises(FloatingPointError, match=r"from step 1 of 12 on; try a learning_rate"):
        list(fit_detector(model, data, SETTINGS, seed=1))


def test_labels_are_moved_by_the_offset(data: Dataset) -> None:
    model = Toy(offset=1)
    found = scores(fit_detector(model, data, SETTINGS, seed=1, val=data, label_offset=1))
    assert {int(label) for _, labels in model.seen for own in labels for label in own} == {1}
    assert "ap" in found[12]


def test_a_backbone_with_weights_learns_slower_and_keeps_its_norms(data: Dataset) -> None:
    model = Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    still = SETTINGS.model_copy(update={"backbone_rate": 0.0})
    list(fit_detector(model, data, still, seed=1, backbones=[model.backbone]))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("backbone."), name


def test_mixed_precision_trains(data: Dataset) -> None:
    mixed = SETTINGS.model_copy(update={"precision": "bfloat16"})
    model = Toy()
    found = scores(fit_detector(model, data, mixed, seed=1, val=data))
    assert math.isfinite(found[12]["loss"])
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert found != scores(fit_detector(Toy(), data, SETTINGS, seed=1, val=data))


class Typed(Toy):
    """It remembers the types of its losses, which are those of what its head gives."""

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        told = super().forward(images, targets)
        if targets is not None:
            self.types = {loss.dtype for loss in told.values()}
        return told


def test_what_a_head_gives_is_float32_in_mixed_precision_too(data: Dataset) -> None:
    model = Typed()
    mixed = SETTINGS.model_copy(update={"precision": "bfloat16", "steps": 1})
    list(fit_detector(model, data, mixed, seed=1))
    assert model.types == {torch.float32}


def test_mixed_precision_says_what_it_computes_in_float32(data: Dataset) -> None:
    mixed = SETTINGS.model_copy(update={"precision": "bfloat16", "steps": 1})
    model = Toy()
    model.backbone.append(torch.nn.AdaptiveAvgPool2d(1))
    model.backbone.append(torch.nn.Conv2d(4, 4, 3, 2, padding=1))
    with pytest.warns(RuntimeWarning, match="narrower than its stride computes in float32"):
        found = scores(fit_detector(model, data, mixed, seed=1))
    assert math.isfinite(found[1]["loss"])


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_it_learns(data: Dataset, optimiser: str) -> None:
    long = SETTINGS.model_copy(
        update={"steps": 80, "optimiser": optimiser, "learning_rate": 0.03, "ema": 0.5}
    )
    found = list(scores(fit_detector(Toy(), data, long, seed=1)).values())
    assert found[-1]["loss"] < 0.5 * found[0]["loss"]


def test_the_rate_rises_and_falls() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup=0.1)
    rates = [rate_at(step, settings, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    stepped = settings.model_copy(update={"schedule": "step"})
    assert [rate_at(k, stepped, 90) for k in (9, 59, 60, 79, 80)] == pytest.approx(
        [1.0, 1.0, 0.1, 0.1, 0.01]
    )


def test_the_last_step_is_reported_and_scored() -> None:
    scored, reported = report_steps(TrainingSettings(evaluations=3), 130)
    assert scored == {43, 87, 130}
    assert reported == {43, 50, 87, 100, 130}


def test_epochs_count_in_images() -> None:
    assert TrainingSettings(steps=7).steps_for(100) == 7
    assert TrainingSettings(epochs=2.5, batch_size=4).steps_for(100) == 62


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_missing_is_named(data: Dataset) -> None:
    cuda = SETTINGS.model_copy(update={"device": "cuda"})
    with pytest.raises(RunError, match=r"\[training\] device = \"cuda\": torch finds no CUDA"):
        list(fit_detector(Toy(), data, cuda, seed=1))
