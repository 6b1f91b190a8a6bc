"""Backbones that are tuned for a bank: in folds, each image seen by one that has not learnt it."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nas_fpn.detect.dataset import Dataset
from nas_fpn.detect.images import load_image
from nas_fpn.errors import RunError
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.bank import Bank, open_bank
from nas_fpn.proxy.building import Fold
from nas_fpn.proxy.settings import BackboneSettings
from nas_fpn.run import add_run_backbone, export_from_run, search_run
from nas_fpn.run.backbones import Ready, needs_warmup, ready_backbones
from nas_fpn.run.data import Data, read_data
from nas_fpn.run.prepare import Prepared, prepare
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import Run, read_run
from tests.run.smallest import SMALLEST

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
SEARCH = """
controller = "random_search"
baselines = ["fpn"]
[budget]
trials = 1
[ray]
workers = 0
[report]
mirror = false
[confirm]
seeds = 0
"""
TUNED = SMALLEST.replace("[backbone]", "[backbone]\ntune_steps = 2")


def run_of(folder: Path, text: str = TUNED) -> Run:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(f'space = "quick"\n{text}')
    return read_run(folder)


def data_of(run: Run) -> Data:
    return read_data(
        run.data,
        run.folder / "data",
        image_size=run.settings.proxy.image_size,
        needs_warmup=needs_warmup(run.backbone),
    )


def ready(run: Run, data: Data | None = None) -> Ready:
    question = read_question(run)
    steps = ready_backbones(run, data or data_of(run), question.levels, neck=question.warmup_neck)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Ready = end.value
            return made


def folds_of(run: Run, data: Data | None = None) -> tuple[Fold, ...]:
    found = ready(run, data).backbone
    assert not isinstance(found, Backbone)
    return found


def prepared(run: Run) -> tuple[Prepared, list[str]]:
    """The bank, and the stages that were gone through."""
    question = read_question(run)
    steps, stages = prepare(run, question.levels, warmup_neck=question.warmup_neck), []
    while True:
        try:
            stages.append(next(steps).stage)
        except StopIteration as end:
            return end.value, list(dict.fromkeys(stages))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def bank(tuned: Run) -> Bank:
    made, _ = prepared(tuned)
    return open_bank(made.bank)


def same(one: Backbone, other: Backbone) -> bool:
    return one.fingerprint() == other.fingerprint()


def without(data: Data, place: int) -> Data:
    """The same images, one of them with its boxes elsewhere."""
    boxes = list(data.train.boxes)
    boxes[place] = np.array(boxes[place]) * np.float32(0.5)
    train: Dataset = replace(data.train, boxes=tuple(boxes))
    return replace(data, train=train)


def test_folds_hold_every_image_once_and_nearly_as_many_each(tuned: Run) -> None:
    folds = folds_of(tuned)
    assert sorted(place for fold in folds for place in fold.images) == list(range(12))
    assert [len(fold.images) for fold in folds] == [6, 6]
    assert folds_of(tuned)[0].images == folds[0].images


def test_a_fold_has_learnt_the_images_of_the_others_alone(tuned: Run, tmp_path: Path) -> None:
    folds = folds_of(tuned)
    data, place = data_of(tuned), folds[0].images[0]
    elsewhere = run_of(tmp_path / "other")
    other = folds_of(elsewhere, without(data, place))
    assert [fold.images for fold in other] == [fold.images for fold in folds]
    assert same(other[0].backbone, folds[0].backbone)
    assert not same(other[1].backbone, folds[1].backbone)


def test_without_folds_one_backbone_has_learnt_them_all(tmp_path: Path) -> None:
    run = run_of(tmp_path, TUNED.replace("tune_steps", "tune_folds = 1\ntune_steps"))
    data = data_of(run)
    one, other = ready(run, data), ready(run, without(data, 3))
    assert isinstance(one.backbone, Backbone) and isinstance(other.backbone, Backbone)
    assert not same(one.backbone, other.backbone)
    assert not one.backbone.training and one.backbone.frozen


def test_tuning_starts_from_the_weights_before_and_moves_them(tuned: Run) -> None:
    made = ready(tuned)
    assert made.warmed is not None
    before, fold = load_file(made.warmed), folds_of(tuned)[0]
    after = fold.backbone.net.state_dict()
    assert before.keys() == after.keys()
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert moved
    assert not any("running" in key for key in moved)  # norms stand still
    assert not any(key.startswith("conv_stem") for key in moved)  # and so does the stem


def test_the_bank_has_each_image_by_its_own_fold(tuned: Run, bank: Bank) -> None:
    data = data_of(tuned)
    for number, fold in enumerate(folds_of(tuned)):
        seen = features(fold.backbone, data.train, fold.images)
        for level, feature in seen.items():
            mean, std = feature.mean((0, 2, 3)), feature.std((0, 2, 3), correction=0)
            expected = (feature - mean[:, None, None]) / std.clamp(min=1e-6)[:, None, None]
            rows = bank.train.features[level][list(fold.images)].float()
            flat = std < 1e-6
            torch.testing.assert_close(rows[:, ~flat], expected[:, ~flat], rtol=1e-3, atol=1e-3)
            if number == 0:  # val and test are seen by it
                torch.testing.assert_close(bank.mean[level], mean)
    first = folds_of(tuned)[0].backbone
    for level, feature in features(first, data.val, range(len(data.val.images))).items():
        mean, std = bank.mean[level][:, None, None], bank.std[level][:, None, None]
        torch.testing.assert_close(
            bank.val.features[level].float(), (feature - mean) / std, rtol=1e-4, atol=1e-4
        )


def features(backbone: Backbone, data: Dataset, places: Iterable[int]) -> dict[int, torch.Tensor]:
    pixels = [load_image(data.images[place].path, 64)[0] for place in places]
    with torch.no_grad():
        found: dict[int, torch.Tensor] = backbone(torch.stack(pixels).float() / 255)
    return found


def test_what_is_tuned_is_found_again(tuned: Run, bank: Bank) -> None:
    made, stages = prepared(tuned)
    assert made.bank == bank.path
    assert not any("tuning" in stage or "warming" in stage for stage in stages)
    assert made.notes[-1] == (
        "backbone: tuned for 2 steps on train, in 2 parts: the features of each are those of a "
        "backbone tuned on the others; val and test are seen by the first"
    )


def test_the_stages_are_told(tmp_path: Path) -> None:
    _, stages = prepared(run_of(tmp_path))
    assert stages == [
        "reading the data",
        "warming up the backbone",
        "tuning the backbone, 1 of 2",
        "tuning the backbone, 2 of 2",
        "storing features",
    ]


def test_the_warm_up_is_that_of_a_run_without_tuning(tuned: Run, tmp_path: Path) -> None:
    plain = ready(run_of(tmp_path, SMALLEST))
    warmed = ready(tuned).warmed
    assert plain.warmed is not None and warmed is not None
    assert plain.warmed.name == warmed.name
    assert plain.warmed.read_bytes() == warmed.read_bytes()


def test_a_tuning_that_diverges_says_where_and_leaves_nothing(tmp_path: Path) -> None:
    text = TUNED.replace("tune_steps = 2", "tune_steps = 3\ntune_learning_rate = 1e30")
    run = run_of(tmp_path, text)
    with pytest.raises(FloatingPointError) as fault:
        ready(run)
    said = "tuning the backbone, 1 of 2 (its tune_learning_rate): the loss or its gradient is not"
    assert str(fault.value).startswith(said)
    assert not list((tmp_path / "bank").glob("tuned-*"))


def test_more_folds_than_images_are_refused(tmp_path: Path) -> None:
    text = TUNED.replace("tune_steps", "tune_folds = 10\ntune_steps")
    run = run_of(tmp_path, text.replace("shapes_train = 12", "shapes_train = 5"))
    with pytest.raises(RunError) as fault:
        ready(run)
    said = str(fault.value).replace(str(tmp_path), "runs/mine")
    assert f"{said}\n" == (GOLDEN / "tune_folds.txt").read_text(encoding="utf-8")


def test_a_backbone_that_is_not_tuned_is_written_out_as_before_there_was_tuning() -> None:
    plain = BackboneSettings(tune_folds=5).model_dump(mode="json")
    assert not any(key.startswith("tune") for key in plain)
    whole = BackboneSettings(tune_steps=5)
    told = json.loads(json.dumps(whole.model_dump(mode="json")))
    assert BackboneSettings.model_validate(told) == whole
    assert told["tune_folds"] == 2


def test_a_backbone_with_weights_is_tuned_too(tuned: Run, tmp_path: Path) -> None:
    net = build_backbone(tuned.backbone, (3, 4, 5), seed=4).net
    save_file(net.state_dict(), tmp_path / "mine.safetensors")
    text = TUNED.replace("[backbone]", '[backbone]\nweights = "mine.safetensors"')
    run = run_of(tmp_path, text)
    made = ready(run)
    assert made.warmed is None
    first, second = folds_of(run)
    assert not same(first.backbone, second.backbone)
    stem = "conv_stem.weight"
    assert torch.equal(first.backbone.net.state_dict()[stem], net.state_dict()[stem])


def test_a_neck_leaves_with_the_tuned_backbone_that_val_was_seen_by(tmp_path: Path) -> None:
    run, to = run_of(tmp_path / "mine", f"{SEARCH}{TUNED}"), tmp_path / "fpn"
    for _ in search_run(run):
        pass
    for _ in export_from_run(run.folder, 0, to):
        pass
    tune_otherwise = replace(
        run, backbone=run.backbone.model_copy(update={"tune_steps": 3})
    )  # a calibration leaves such files beside those of the run
    ready(tune_otherwise)
    add_run_backbone(run.folder, to, run.backbone.name)
    assert "The backbone was tuned in the run" in (to / "with_backbone" / "README.md").read_text()
    model = torch.hub.load(str(to / "with_backbone"), "model", source="local").eval()
    neck = torch.hub.load(str(to), "neck", source="local").eval()
    (file,) = (run.folder / "bank").glob("bank-*.safetensors")
    bank, val = open_bank(file), data_of(run).val
    for row, image in enumerate(val.images):
        pixels, _ = load_image(image.path, bank.image_size)
        given = [bank.val.features[level][row : row + 1].float() for level in neck.inputs]
        for ours, theirs in zip(model(pixels[None] / 255).values(), neck(given), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
